// Simulates the app server: creates, writes and reads streams on the internal listener in a loop
// while clients use the public one.

import { Agent, request } from "node:http"

import { serverToken } from "./tokens.mjs"

export class AppServer {
  /** Its source address, which distinguishes its requests from the clients' in the server's log. */
  static ADDRESS = "127.0.0.7"

  constructor(server) {
    this.url = server.internalUrl
    this.token = serverToken(server.privateKey)
    this.agent = new Agent({ keepAlive: true, localAddress: AppServer.ADDRESS })
    this.rounds = 0
    this.problems = []
    this.stopping = false
    this.done = this.#work()
  }

  async #work() {
    try {
      while (!this.stopping) await this.#round()
    } catch (error) {
      this.problems.push(`the app server on the internal listener: ${error.message}`)
    }
  }

  async #round() {
    const path = `/v1/stream/gid:%2F%2Fapp%2FRoom%2F${this.rounds}`
    await this.#expect(201, "PUT", path, "one ")
    await this.#expect(204, "POST", path, "two")
    const content = await this.#expect(200, "GET", path)
    if (content !== "one two") throw new Error(`read ${JSON.stringify(content)} from ${path}`)
    await this.#expect(204, "DELETE", path)
    this.rounds += 1
  }

  #expect(status, method, path, body) {
    return new Promise((done, failed) => {
      const headers = { authorization: `Bearer ${this.token}`, "content-type": "text/plain" }
      const sent = request(this.url + path, { method, headers, agent: this.agent }, (response) => {
        let text = ""
        response.setEncoding("utf8")
        response.on("data", (data) => (text += data))
        response.once("error", failed)
        response.once("end", () => {
          if (response.statusCode === status) done(text)
          else failed(new Error(`${method} ${path}: ${response.statusCode} ${text}`))
        })
      })
      sent.once("error", failed)
      sent.end(body)
    })
  }

  /** Waits for the last round; returns the failures. */
  async stop() {
    this.stopping = true
    await this.done
    this.agent.destroy()
    if (this.rounds === 0 && this.problems.length === 0) this.problems.push("the app server did not get round once")
    return this.problems
  }
}
