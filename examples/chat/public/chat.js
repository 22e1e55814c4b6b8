// Reads the room's streams with @durable-streams/client, starting at the offset up
// to which the page was rendered.
import { stream } from "/vendor/durable-streams-client.js"

const { room, streams } = JSON.parse(document.getElementById("feed").textContent)
const csrf = document.querySelector("meta[name=csrf-token]").content
const tab = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2)
const status = document.getElementById("status")

function show(state) {
  status.dataset.state = state
  status.textContent = state
}

// Fetches a new token shortly before the old one expires, and at once if the server
// refuses it.
class Feed {
  constructor(streams) {
    this.streams = streams
  }

  async token(name) {
    const expires = JSON.parse(atob(this.streams[name].token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).exp
    if (Date.now() / 1000 > expires - 2) await this.renew()
    return this.streams[name].token
  }

  renew() {
    this.renewing ||= fetch(`/rooms/${room}/feed`)
      .then((response) => { if (!response.ok) throw new Error(`the app answered ${response.status}`); return response.json() })
      .then((streams) => { this.streams = streams })
      .finally(() => { this.renewing = null })
    return this.renewing
  }
}

const feed = new Feed(streams)
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

// Reads a stream while the page is open, and resumes from its offset after any
// interruption.
async function follow(name, offset, apply) {
  for (;;) {
    try {
      const response = await stream({
        url: feed.streams[name].url,
        offset,
        live: "sse",
        json: true,
        warnOnHttp: false,
        headers: { Authorization: async () => `Bearer ${await feed.token(name)}` },
        backoffOptions: { initialDelay: 200, maxDelay: 2000, multiplier: 1.5, maxRetries: 3 }
      })
      if (name === "messages") show("live")
      response.subscribeJson(async (batch) => {
        batch.items.forEach(apply)
        offset = batch.offset
      })
      await response.closed
      if (response.streamClosed) return show("closed")
    } catch (error) {
      if (name === "messages") show("reconnecting")
      if (error.status === 401) await feed.renew().catch(() => {})
      // The stream, or unread content of it, has been removed.
      if (error.status === 410) return location.reload()
    }
    await pause(300 + Math.random() * 300)
  }
}

// Messages: an event that is already on the page has the same key and changes
// nothing.
const messages = document.getElementById("messages")

function applyMessage({ key, value, headers }) {
  let item = messages.querySelector(`li[data-key="${CSS.escape(key)}"]`)
  if (headers.operation === "delete") return item?.remove()

  if (!item) {
    item = document.createElement("li")
    item.dataset.key = key
    item.append(document.createElement("b"), " ", document.createElement("span"))
    const next = [...messages.children].find((other) => Number(other.dataset.key) > Number(key))
    messages.insertBefore(item, next ?? null)
  }
  item.querySelector("b").textContent = value.author
  item.querySelector("span").textContent = value.body
}

// Presence: each tab sends a heartbeat every few seconds. People without a recent
// heartbeat are removed.
const people = new Map()
const list = document.getElementById("people")

function applyPresence({ key, value, headers }) {
  headers.operation === "delete" ? people.delete(key) : people.set(key, value)
  showPeople()
}

function showPeople() {
  const now = Date.now() / 1000
  const names = [...people.values()].filter((person) => now - person.at < 25).map((person) => person.name)
  list.replaceChildren(...[...new Set(names)].sort().map((name) => Object.assign(document.createElement("li"), { textContent: name })))
}

function announce() {
  const body = new URLSearchParams({ tab })
  fetch(`/rooms/${room}/presence`, { method: "POST", body, headers: { "X-CSRF-Token": csrf } }).catch(() => {})
}

document.getElementById("composer").addEventListener("submit", async (event) => {
  event.preventDefault()
  const input = event.target.elements.body
  const body = new URLSearchParams({ body: input.value })
  const response = await fetch(`/rooms/${room}/messages`, { method: "POST", body, headers: { "X-CSRF-Token": csrf } }).catch(() => null)
  if (response?.ok) input.value = ""
})

addEventListener("pagehide", () => {
  fetch(`/rooms/${room}/presence?tab=${tab}`, { method: "DELETE", keepalive: true }).catch(() => {})
})

follow("messages", streams.messages.offset ?? "-1", applyMessage)
follow("presence", "-1", applyPresence)
announce()
setInterval(announce, 10000)
setInterval(showPeople, 2000)
