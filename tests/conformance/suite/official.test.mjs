import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.CONFORMANCE_BASE_URL
if (!baseUrl) throw new Error("CONFORMANCE_BASE_URL is not set: start this through run.mjs")

runConformanceTests({
  baseUrl,
  longPollTimeoutMs: Number(process.env.CONFORMANCE_LONG_POLL_TIMEOUT_MS),
  subscriptions: process.env.CONFORMANCE_SUBSCRIPTIONS === "1",
})
