// Signs tokens like the Rails gem, with Node's own crypto, which is independent of the crate
// that the server verifies with.

import { generateKeyPairSync, sign } from "node:crypto"
import { writeFileSync } from "node:fs"

export const ISSUER = "https://app.example.test"
export const AUDIENCE = "https://streams.example.test/v1/stream"

const base64url = (value) => Buffer.from(value).toString("base64url")

/** A fresh ES256 key pair; the public half is written to `verifyKeyPath` as PEM. */
export function generateKeys(verifyKeyPath) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  writeFileSync(verifyKeyPath, publicKey.export({ type: "spki", format: "pem" }))
  return privateKey
}

/** Signs `claims` unchanged. */
export function signToken(privateKey, claims) {
  const head = base64url(JSON.stringify({ alg: "ES256", typ: "JWT" }))
  const body = base64url(JSON.stringify(claims))
  const signature = sign("sha256", Buffer.from(`${head}.${body}`), { key: privateKey, dsaEncoding: "ieee-p1363" })
  return `${head}.${body}.${base64url(signature)}`
}

function times(expiresIn) {
  const now = Math.floor(Date.now() / 1000)
  return { iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + expiresIn }
}

/** An app server's token, which allows everything. */
export function serverToken(privateKey, expiresIn = 3600) {
  return signToken(privateKey, { server: "rails", ...times(expiresIn) })
}

/** A browser's token: one stream and some permissions. */
export function clientToken(privateKey, stream, permissions = ["read"], expiresIn = 900) {
  return signToken(privateKey, { stream, permissions, ...times(expiresIn) })
}
