// What the server says, and what it is asked. The page keeps nothing of its own.

export const state = {
  me: null, items: new Map(), levels: new Map(), homes: {}, quiet: [], duty: [],
  edition: 0, clock: 0, still: 0, connected: false, heard: 0,
};

const listeners = new Set();
export function listen(listener) { listeners.add(listener); }
function tell(what) { for (const listener of listeners) listener(what); }

const SILENT_MS = 5000; // the server says something each second
let socket = null;
let retry = 0;

export function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (event.code === 4401) { location.href = `/login${location.search}`; return; }
    lost();
    retry = Math.min(retry + 1, 5);
    setTimeout(checkSession, 400 * retry + Math.random() * 400);
  };
}

async function checkSession() {
  try {
    const answer = await fetch("/api/session");
    if (answer.status === 401) { location.href = `/login${location.search}`; return; }
  } catch { /* not there yet: the socket will say so */ }
  connect();
}

function lost() {
  if (!state.connected) return;
  state.connected = false;
  tell({ connection: true });
}

setInterval(() => {
  if (state.connected && performance.now() - state.heard > SILENT_MS) { lost(); socket.close(); }
}, 1000);

function take(message) {
  state.heard = performance.now();
  state.clock = message.clock;
  state.still = message.still;
  const news = { clock: true };
  if (!state.connected) { state.connected = true; retry = 0; news.connection = true; }
  if (message.t === "all") {
    state.me = message.me;
    state.edition = message.edition;
    state.items = new Map(message.items.map((item) => [item.id, item]));
    state.levels = new Map(Object.entries(message.levels));
    news.all = true;
  } else if (message.t === "some") {
    news.items = message.items.map((item) => ({ item, before: state.items.get(item.id) }));
    for (const id of message.gone) state.items.delete(id);
    for (const item of message.items) state.items.set(item.id, item);
    for (const [site, level] of Object.entries(message.levels)) {
      if (level) state.levels.set(site, level); else state.levels.delete(site);
    }
    news.list = message.items.length > 0 || message.gone.length > 0;
    news.map = Object.keys(message.levels).length > 0;
  }
  if (message.homes) { state.homes = message.homes; news.map = true; }
  if (message.quiet) { state.quiet = message.quiet; news.quiet = true; }
  if (message.duty) { state.duty = message.duty; news.duty = true; }
  tell(news);
}

export async function get(path) {
  const answer = await fetch(path);
  if (answer.status === 401) location.href = `/login${location.search}`;
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

// One press of a button has one id: sent again after a failure it is the same action.
export async function act(action) {
  const body = JSON.stringify({ id: newId(), ...action });
  const headers = { "content-type": "application/json", "x-kapok": state.me.token };
  for (let attempt = 0; ; attempt += 1) {
    let answer = null;
    try { answer = await fetch("/api/actions", { method: "POST", headers, body }); } catch { /* once more */ }
    if (answer?.ok) return;
    if (answer?.status === 401) location.href = `/login${location.search}`;
    if (answer && answer.status < 500) throw new Error(answer.status === 403 ? "not_yours" : "invalid");
    if (attempt === 2) throw new Error("try_again");
    await new Promise((done) => setTimeout(done, 700 * (attempt + 1)));
  }
}

// Who lives in the home of a case. It is written down who asked.
export async function lookUp(id) {
  const headers = { "content-type": "application/json", "x-kapok": state.me.token };
  let answer = null;
  try { answer = await fetch("/api/resident", { method: "POST", headers, body: JSON.stringify({ case: id }) }); } catch { throw new Error("failed"); }
  if (answer.status === 401) location.href = `/login${location.search}`;
  if (!answer.ok) throw new Error(answer.status === 404 ? "not_yours" : "not_shown");
  return answer.json();
}

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is missing where there is no https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function leave() {
  await fetch("/logout", { method: "POST", headers: { "x-kapok": state.me.token } });
  location.href = "/login";
}
