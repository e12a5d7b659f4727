// SPDX-License-Identifier: AGPL-3.0-or-later

// A worker that looks for a number n for which SHA-256 of the riddle, ":" and n in decimal begins with enough zero bits.
// WebCrypto would not do: it is slower for many short texts, and not there on plain http.

const K = new Uint32Array(64);
const H = new Uint32Array(8);
{ // The constants are fractions of roots of the first primes.
  const part = x => (x - Math.floor(x)) * 2 ** 32 >>> 0;
  let n = 0;
  for (let p = 2; n < 64; p++) {
    let prime = true;
    for (let d = 2; d * d <= p; d++) if (p % d === 0) prime = false;
    if (!prime) continue;
    if (n < 8) H[n] = part(Math.sqrt(p));
    K[n++] = part(Math.cbrt(p));
  }
}

const W = new Int32Array(64);

// block adds one block of 64 bytes, from an offset, to a state.
function block(state, bytes, at) {
  for (let i = 0; i < 16; i++, at += 4) W[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
  for (let i = 16; i < 64; i++) {
    const x = W[i - 15], y = W[i - 2];
    const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
    const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
    W[i] = W[i - 16] + s0 + W[i - 7] + s1 | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
    const t1 = h + s1 + (e & f ^ ~e & g) + K[i] + W[i] | 0;
    const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
    const t2 = s0 + (a & b ^ a & c ^ b & c) | 0;
    h = g; g = f; f = e; e = d + t1 | 0; d = c; c = b; b = a; a = t1 + t2 | 0;
  }
  state[0] += a; state[1] += b; state[2] += c; state[3] += d;
  state[4] += e; state[5] += f; state[6] += g; state[7] += h;
}

function solve(riddle, bits) {
  const head = new TextEncoder().encode(riddle + ':');
  // Whole blocks of the riddle are the same for every number.
  const start = H.slice();
  let whole = 0;
  for (; whole + 64 <= head.length; whole += 64) block(start, head, whole);
  const rest = head.subarray(whole);
  const state = new Uint32Array(8);
  const text = new Uint8Array(128);
  for (let n = 0; ; n++) {
    const number = String(n);
    text.fill(0);
    text.set(rest);
    let length = rest.length;
    for (let i = 0; i < number.length; i++) text[length++] = number.charCodeAt(i);
    text[length] = 0x80;
    const end = length + 9 <= 64 ? 64 : 128;
    const size = (whole + length) * 8;
    text[end - 2] = size >>> 8; text[end - 1] = size;
    state.set(start);
    block(state, text, 0);
    if (end === 128) block(state, text, 64);
    let zeros = Math.clz32(state[0]);
    if (zeros === 32) zeros += Math.clz32(state[1]);
    if (zeros >= bits) return number;
  }
}

addEventListener('message', event => postMessage(solve(event.data.riddle, event.data.bits)));
