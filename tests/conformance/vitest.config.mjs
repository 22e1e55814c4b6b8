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
    // A kill may reject a promise before its test awaits it. The test's attempt fails, and run.mjs judges that.
    dangerouslyIgnoreUnhandledErrors: Boolean(process.env.CONFORMANCE_ATTEMPTS),
  },
})
