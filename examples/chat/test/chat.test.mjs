// The chat page in two browsers, through everything that can end a read.
//
//   bin/test                                  (in examples/chat)
//   CHROMIUM=/usr/bin/chromium SCREENSHOTS=dir bin/test
//
// Starts the app and the server on free ports.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, openSync, readFileSync } from "node:fs"
import net from "node:net"
import os from "node:os"
import path from "node:path"
import { after, before, test } from "node:test"
import { chromium } from "playwright-core"

const root = path.resolve(import.meta.dirname, "..")
const run = path.resolve(root, "../../gem/script/run")
const directory = mkdtempSync(path.join(os.tmpdir(), "chat-"))
const screenshots = process.env.SCREENSHOTS ?? path.join(root, "tmp/screenshots")
const TOKEN_SECONDS = 6

// Generous for a busy machine. A job that fails while the server is down is retried
// after about 3, 21 and 104 seconds.
const TIMEOUT = 60_000
const RETRIES = 180_000

let env, web, streams, network, browser, ada, bob

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

// A proxy between the browsers and the server, whose connections can be cut.
class Network {
  constructor(port) {
    this.sockets = new Set()
    this.server = net.createServer((near) => {
      if (this.down) return near.destroy()
      const far = net.connect(port, "127.0.0.1")
      for (const [from, to] of [[near, far], [far, near]]) {
        this.sockets.add(from)
        from.pipe(to)
        from.on("error", () => {})
        from.on("close", () => { to.destroy(); this.sockets.delete(from) })
      }
    })
  }

  listen() {
    return new Promise((resolve) => this.server.listen(0, "127.0.0.1", () => resolve(this.server.address().port)))
  }

  cut() {
    this.down = true
    this.sockets.forEach((socket) => socket.destroy())
  }

  restore() {
    this.down = false
  }
}

function start(name, command, args) {
  const log = openSync(path.join(directory, `${name}.log`), "a")
  return spawn(command, args, { cwd: root, env, stdio: ["ignore", log, log], detached: true })
}

function end(child, signal) {
  return new Promise((resolve) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once("exit", resolve)
    process.kill(-child.pid, signal)
  })
}

function finished(child, name) {
  return new Promise((resolve, reject) => {
    child.once("exit", (code) => code === 0 ? resolve() : reject(new Error(readFileSync(path.join(directory, `${name}.log`), "utf8"))))
  })
}

async function waitFor(url, name) {
  for (const deadline = Date.now() + TIMEOUT; Date.now() < deadline;) {
    const ok = await fetch(url).then((response) => response.ok, () => false)
    if (ok) return
    await pause(100)
  }
  assert.fail(`${url} does not answer:\n${readFileSync(path.join(directory, `${name}.log`))}`)
}

async function startStreams() {
  streams = start("streams", "bin/durable-streams", [])
  await waitFor(`http://127.0.0.1:${env.DURABLE_STREAMS_PORT}/readyz`, "streams")
}

async function open(name) {
  const context = await browser.newContext({ viewport: { width: 640, height: 720 } })
  await context.addCookies([{ name: "name", value: name, url: `http://localhost:${env.PORT}` }])
  const page = await context.newPage()
  page.setDefaultTimeout(TIMEOUT)
  page.on("pageerror", (error) => assert.fail(error))
  await page.goto(`http://localhost:${env.PORT}/rooms/1`)
  return page
}

async function say(page, text) {
  await page.fill("[name=body]", text)
  await page.click("button")
  await page.waitForFunction(() => document.querySelector("[name=body]").value === "")
}

// Calls the app directly, like another client.
async function sayElsewhere(text) {
  const request = await browser.newContext().then((context) => context.request)
  const rendered = await request.get(`http://localhost:${env.PORT}/rooms/1`)
  const token = (await rendered.text()).match(/csrf-token" content="([^"]+)"/)[1]
  const response = await request.post(`http://localhost:${env.PORT}/rooms/1/messages`, { form: { body: text }, headers: { "X-CSRF-Token": token } })
  assert.equal(response.status(), 201)
}

const list = (page) => page.locator("#messages li span").allTextContents()

async function shows(page, texts, timeout = TIMEOUT) {
  const deadline = Date.now() + timeout
  let seen
  do {
    seen = await list(page)
    if (JSON.stringify(seen) === JSON.stringify(texts)) return
    await pause(50)
  } while (Date.now() < deadline)
  assert.deepEqual(seen, texts)
}

async function shot(page, name) {
  mkdirSync(screenshots, { recursive: true })
  await page.screenshot({ path: path.join(screenshots, `${name}.png`) })
}

before(async () => {
  const [port, streamsPort] = [await freePort(), await freePort()]
  network = new Network(streamsPort)
  const networkPort = await network.listen()
  env = {
    ...process.env,
    PORT: String(port),
    DURABLE_STREAMS_PORT: String(streamsPort),
    STREAM_URL_SECONDS: String(TOKEN_SECONDS),
    BUNDLE_GEMFILE: path.join(root, "Gemfile"),
    DATABASE_URL: `sqlite3:${path.join(directory, "chat.sqlite3")}`,
    DS_STORAGE__DATA_DIR: path.join(directory, "streams"),
    DURABLE_STREAMS_CLIENT_URL: `http://127.0.0.1:${networkPort}/v1/streams`
  }
  await finished(start("setup", run, ["bin/rails", "db:prepare", "db:seed"]), "setup")
  web = start("web", run, ["bin/rails", "server", "--pid", path.join(directory, "web.pid")])
  await startStreams()
  await waitFor(`http://127.0.0.1:${port}/up`, "web")
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    timeout: TIMEOUT,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
  })
  ada = await open("Ada")
  bob = await open("Bob")
})

after(async () => {
  await browser?.close()
  await end(streams, "SIGKILL")
  await end(web, "SIGKILL")
  network?.server.close()
})

const said = []

test("a message from one appears in the other, and who is here", async () => {
  await say(ada, "Hello")
  said.push("Hello")
  await shows(bob, said)
  await shows(ada, said)
  await say(bob, "Hi Ada")
  said.push("Hi Ada")
  await shows(ada, said)
  for (const page of [ada, bob]) {
    await page.waitForFunction(() => document.getElementById("people").innerText.includes("Ada") && document.getElementById("people").innerText.includes("Bob"))
  }
  await shot(ada, "1-two-people")
})

test("the server is killed and started again", async () => {
  await end(streams, "SIGKILL")
  await say(ada, "Is anybody there?")
  said.push("Is anybody there?")
  await ada.waitForSelector("#status[data-state=reconnecting]")
  await shot(ada, "2-server-killed")
  await startStreams()
  await shows(bob, said, RETRIES)
  await shows(ada, said)
})

test("the network is cut and restored", async () => {
  network.cut()
  const before = [...said]
  await say(ada, "Bob?")
  await sayElsewhere("He is in a tunnel")
  said.push("Bob?", "He is in a tunnel")
  await bob.waitForSelector("#status[data-state=reconnecting]")
  assert.deepEqual(await list(bob), before)
  await shot(bob, "3-network-cut")
  network.restore()
  await shows(bob, said)
  await shows(ada, said)
})

test("the token runs out and is renewed", async () => {
  await pause((TOKEN_SECONDS + 2) * 1000)
  await say(bob, "Still here")
  said.push("Still here")
  await shows(ada, said)
  await pause((TOKEN_SECONDS + 2) * 1000)
  await say(ada, "So am I")
  said.push("So am I")
  await shows(bob, said)
})

test("a page that is loaded in between misses nothing, and all end with the same list", async () => {
  const carol = await open("Carol")
  const burst = (async () => {
    for (let at = 1; at <= 10; at++) {
      await sayElsewhere(`burst ${at}`)
      said.push(`burst ${at}`)
    }
  })()
  const dora = await open("Dora")
  await ada.reload()
  await burst
  for (const page of [ada, bob, carol, dora]) await shows(page, said)
  await shot(ada, "4-complete-ada")
  await shot(bob, "4-complete-bob")
})

// The two readers of the gem's README, verbatim.
const readme = readFileSync(path.resolve(root, "../../gem/README.md"), "utf8")
const readers = [...readme.matchAll(/```js\n(\/\/ durable_stream\.js\n.*?)```/gs)].map(([, code]) => code)

for (const [at, name] of ["EventSource", "the client"].entries()) {
  test(`the README's reader with ${name} outlives its token and the network`, async () => {
    const page = await open("Eve")
    await page.route("**/reader.js", (route) => route.fulfill({
      contentType: "text/javascript", body: readers[at].replace("@durable-streams/client", "/vendor/durable-streams-client.js")
    }))
    await page.route("**/reader-feed", async (route) => {
      const response = await page.request.get(`http://localhost:${env.PORT}/rooms/1/feed`)
      const { url, token } = (await response.json()).messages
      await route.fulfill({ json: at === 0 ? { url: `${url}?token=${token}` } : { url, token } })
    })
    await page.evaluate(async () => {
      window.read = new Map()
      const { follow } = await import("/reader.js")
      follow("/reader-feed", "-1", ({ key, value }) => window.read.set(key, value.body))
    })
    const reads = (text) => page.waitForFunction((text) => [...window.read.values()].includes(text), text)

    await reads(said[0])
    await pause((TOKEN_SECONDS + 6) * 1000)
    await sayElsewhere(`renewed ${at}`)
    said.push(`renewed ${at}`)
    await reads(`renewed ${at}`)
    network.cut()
    await sayElsewhere(`cut ${at}`)
    said.push(`cut ${at}`)
    await pause(1000)
    network.restore()
    await reads(`cut ${at}`)
    assert.deepEqual(await page.evaluate(() => [...window.read.values()]), said)
    await page.context().close()
  })
}
