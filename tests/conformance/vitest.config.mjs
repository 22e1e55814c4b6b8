import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["suite/**/*.test.mjs"],
    setupFiles: ["suite/setup.mjs"],
    // Several runs share few cores; tests that assert times measure them themselves.
    testTimeout: process.env.CONFORMANCE_ATTEMPTS ? 120_000 : 30_000,
    hookTimeout: 30_000,
    fileParallelism: false,
    // A killed server takes the requests that it had with it.
    retry: process.env.CONFORMANCE_ATTEMPTS ? 6 : 0,
    // A test whose server is killed may leave a promise that nobody waits for yet. Its attempt has failed, and is judged.
    dangerouslyIgnoreUnhandledErrors: Boolean(process.env.CONFORMANCE_ATTEMPTS),
  },
})
