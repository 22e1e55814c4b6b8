// With the gate on, every request of the suite carries a server token: the suite and the
// client that it brings make all of theirs with the global fetch. A request that has a token
// of its own (a subscription's) keeps it, and so do requests to other servers.

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
