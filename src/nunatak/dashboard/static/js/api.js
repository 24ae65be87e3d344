// Calls to the server. A refusal is an Error whose message is the server's one sentence.

const TOKEN = "nunatak-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (options.method && token.get()) headers.Authorization = `Bearer ${token.get()}`;
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The dashboard does not answer: is its server still running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    const refusal = new Error(typeof told.detail === "string" ? told.detail : `The server refused (${answer.status}).`);
    refusal.status = answer.status;
    throw refusal;
  }
  return answer;
}

const send = (method, path, body) =>
  call(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });

export const json = async (path) => (await call(path)).json();
export const floats = async (path) => new Float32Array(await (await call(path)).arrayBuffer());
export const post = async (path, body) => (await send("POST", path, body)).json();
export const put = async (path, body) => (await send("PUT", path, body)).json();
export const postForBlob = async (path, body) => (await send("POST", path, body)).blob();

/** A map: {blob, level, radius}. */
export async function map(path, signal) {
  const answer = await call(path, { signal });
  return { blob: await answer.blob(), level: Number(answer.headers.get("X-Level")), radius: Number(answer.headers.get("X-Radius")) };
}

export const run = (id) => `runs/${encodeURIComponent(id)}`;
export const fileAddress = (id, name) => `/api/${run(id)}/files/${encodeURIComponent(name)}`;
export const mapAtLatent = (id, z) => `${run(id)}/map?${z.map((v) => `z=${v.toFixed(5)}`).join("&")}`;

/** Hand a blob to the user as a file. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
