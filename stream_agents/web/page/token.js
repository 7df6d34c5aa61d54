// The token that the agents may ask for. This tab alone keeps it, until it is closed.

const NAME = "embedwatch-token";

let token = null;
try {
  token = sessionStorage.getItem(NAME);
} catch {
  // storage may be forbidden: then it is asked for at each visit
}

/** The agents answer only who has their token: there was none, or not this one. */
export class Locked extends Error {}

export const held = () => token !== null;

/** Whether it can be one: a header holds no other characters. */
export function keep(given) {
  if (!/^[\x21-\x7e]+$/.test(given)) return false;
  token = given;
  try {
    sessionStorage.setItem(NAME, given);
  } catch {
    // as above
  }
  return true;
}

export function forget() {
  token = null;
  try {
    sessionStorage.removeItem(NAME);
  } catch {
    // as above
  }
}

/** `fetch`, with the token where there is one. Raises `Locked` where it is not taken. */
export async function fetched(path, accept, signal) {
  const used = token;
  const headers = used === null ? { Accept: accept } : { Accept: accept, Authorization: `Bearer ${used}` };
  const response = await fetch(path, { signal, headers });
  // What was asked before a token was given says nothing of that one.
  if (response.status === 401) throw used === token ? new Locked(path) : new TypeError(`${path}: asked without the token`);
  return response;
}
