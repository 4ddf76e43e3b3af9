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

draw();
form.elements.name.focus();
