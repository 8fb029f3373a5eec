// SHA-256 as 64 hexadecimal digits, by WebCrypto, which pages have on https and localhost alone. What is verified as it streams is the
// crate's.

export async function sha256(bytes: BufferSource): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

export function hex(bytes: Iterable<number>): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
