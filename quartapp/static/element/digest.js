// SHA-256 (FIPS 180-4). `crypto.subtle` has it too, but not on a page without TLS, and not at once.
// @ts-check

/** The first 64 primes. */
const PRIMES = [2];
for (let number = 3; PRIMES.length < 64; number += 2) if (PRIMES.every((prime) => number % prime)) PRIMES.push(number);

/** The first 32 bits behind the point. @param {number} number */
const fraction = (number) => ((number % 1) * 2 ** 32) | 0;

const ROUNDS = PRIMES.map((prime) => fraction(prime ** (1 / 3)));
const START = PRIMES.slice(0, 8).map((prime) => fraction(prime ** (1 / 2)));

/** @param {number} word @param {number} count */
const turned = (word, count) => (word >>> count) | (word << (32 - count));

/** @param {string} text @returns {string} 64 digits */
export function sha256(text) {
  const bytes = new TextEncoder().encode(text);
  const words = new Uint32Array(((bytes.length + 72) >> 6) << 4);
  for (const [index, byte] of [...bytes, 0x80].entries()) words[index >> 2] |= byte << (24 - 8 * (index & 3));
  words[words.length - 1] = bytes.length * 8;
  const hash = START.slice();
  for (let at = 0; at < words.length; at += 16) mix(hash, words.slice(at, at + 16));
  return hash.map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

/** @param {number[]} hash @param {Uint32Array} block */
function mix(hash, block) {
  const words = Array.from(block);
  let [a, b, c, d, e, f, g, h] = hash;
  for (const [index, round] of ROUNDS.entries()) {
    if (index >= 16) {
      const [w15, w2] = [words[index - 15], words[index - 2]];
      const s0 = turned(w15, 7) ^ turned(w15, 18) ^ (w15 >>> 3);
      const s1 = turned(w2, 17) ^ turned(w2, 19) ^ (w2 >>> 10);
      words.push((words[index - 16] + s0 + words[index - 7] + s1) | 0);
    }
    const one = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + round + words[index];
    const two = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  for (const [index, word] of [a, b, c, d, e, f, g, h].entries()) hash[index] = (hash[index] + word) | 0;
}
