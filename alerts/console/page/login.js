import { fill, language, setLanguage, word } from "./words.js";

const form = document.getElementById("login");
const wrong = document.getElementById("wrong");
const lang = document.getElementById("lang");

function draw() {
  setLanguage(language());
  fill();
  lang.textContent = language() === "zh" ? "English" : "中文";
}

lang.addEventListener("click", () => { setLanguage(language() === "zh" ? "en" : "zh"); draw(); });

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.textContent = "";
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  let answer = null;
  try {
    answer = await fetch("/login", { method: "POST", headers: { "content-type": "application/json" }, body });
  } catch { /* told below */ }
  if (answer?.ok) location.href = `/${location.search}`;
  else if (answer?.status === 429) wrong.textContent = word("wait", { s: answer.headers.get("retry-after") });
  else wrong.textContent = word(answer ? "wrong" : "failed");
});

// The link of a message in a web mail brings no cookie along (SameSite=Strict): whoever is in need not log in again.
async function inAlready() {
  if (!new URLSearchParams(location.search).has("case")) return;
  try { if ((await fetch("/api/session")).ok) location.replace(`/${location.search}`); } catch { /* log in, then */ }
}

draw();
inAlready();
form.elements.name.focus();
