// Over TLS the suite's fetch is undici's own, which speaks HTTP/2 where Node's does not unless
// told, and trusts the CA of the server under test and no other.
//
// With the gate on, every request of the suite carries a server token: the suite and the
// client that it brings make all of theirs with the global fetch. A request that has a token
// of its own (a subscription's) keeps it, and so do requests to other servers.

import { readFileSync } from "node:fs"

const ca = process.env.CONFORMANCE_CA
if (ca) {
  const { Agent, install, setGlobalDispatcher } = await import("undici")
  install()
  setGlobalDispatcher(new Agent({ allowH2: true, connect: { ca: readFileSync(ca, "utf8") } }))
  // undici 7 never ends the HTTP/2 stream of a body without bytes (the server waits for more of
  // it, and answers 408). Without a body it does, and that is the same request.
  const undiciFetch = globalThis.fetch
  globalThis.fetch = (input, init) => {
    if (init?.body !== "" && init?.body?.byteLength !== 0) return undiciFetch(input, init)
    const headers = new Headers(init.headers)
    if (init.body === "" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=UTF-8")
    return undiciFetch(input, { ...init, headers, body: undefined })
  }
}

const baseUrl = process.env.CONFORMANCE_BASE_URL
const token = process.env.CONFORMANCE_TOKEN

if (token) {
  const origin = new URL(baseUrl).origin
  const plainFetch = globalThis.fetch
  globalThis.fetch = (input, init) => {
    const request = input instanceof Request ? input : null
    const url = new URL(request ? request.url : String(input))
    if (url.origin !== origin) return plainFetch(input, init)
    const headers = new Headers(init?.headers ?? request?.headers)
    if (!headers.has("authorization")) headers.set("authorization", `Bearer ${token}`)
    return plainFetch(input, { ...init, headers })
  }
}
