const MAX_CHARS = 20; // as in brand.py, which decides; this page only counts along
const segmenter = new Intl.Segmenter();

const form = document.forms[0];
const count = document.getElementById("count");
const problem = document.getElementById("problem");
const article = document.querySelector("article");
const status = document.querySelector("[role=status]");
let controller;

form.brand.addEventListener("input", () => {
  const length = [...segmenter.segment(form.brand.value.trim())].length;
  count.textContent = `${length} of ${MAX_CHARS}`;
  count.classList.toggle("over", length > MAX_CHARS);
  show("");
});

form.stop.addEventListener("click", () => controller.abort());

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.write.disabled) return;
  controller = new AbortController();
  show("");
  setBusy(true);
  try {
    const response = await fetch("/campaign", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ brand: form.brand.value }),
      signal: controller.signal,
    });
    if (response.ok) await read(response);
    else await refuse(response);
  } catch {
    end(controller.signal.aborted ? "Stopped." : "The campaign is not complete. The connection failed.");
  }
  setBusy(false);
});

// Shows each piece of the campaign. Only the line `done` makes it complete.
async function read(response) {
  begin();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return end("The campaign is not complete. The connection ended early.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const { type, text, message } of lines.map((line) => JSON.parse(line))) {
      if (type === "delta") append(text);
      if (type === "done") return end("Complete.", true);
      if (type === "error") return end(message);
    }
  }
}

// Shows the reason of a refusal. If the model is busy, the button waits as long as the server asks for.
async function refuse(response) {
  const body = await response.json().catch(() => null); // a proxy may have answered in HTML
  show(body?.error?.message ?? `There is no campaign: status ${response.status}.`, body?.error?.path);
  const seconds = Number(response.headers.get("Retry-After"));
  if (response.status === 503 && seconds > 0) wait(Math.ceil(seconds));
}

function wait(seconds) {
  const until = Date.now() + seconds * 1000;
  const timer = setInterval(tick, 250);
  tick();
  function tick() {
    const left = Math.ceil((until - Date.now()) / 1000);
    form.write.disabled = left > 0;
    form.write.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left <= 0) clearInterval(timer);
  }
}

// -- what the page shows

function show(message, path) {
  problem.textContent = message;
  form.brand.setAttribute("aria-invalid", path === "brand");
  if (path === "brand") form.brand.focus();
}

function begin() {
  article.hidden = false;
  const headline = article.querySelector("h2");
  headline.textContent = "";
  delete headline.dataset.whole;
  article.querySelector(".text").textContent = "";
  end("Writing…", true);
}

// The first line is the headline.
function append(text) {
  const headline = article.querySelector("h2");
  const body = article.querySelector(".text");
  if (body.textContent) return body.append(text);
  const [first, ...others] = text.split("\n");
  if (!headline.dataset.whole) headline.append(first);
  const more = headline.dataset.whole ? text : others.join("\n");
  if (others.length) headline.dataset.whole = "yes";
  body.append(more.trimStart());
}

function end(words, isWell = false) {
  status.textContent = words;
  status.classList.toggle("fault", !isWell);
}

function setBusy(isBusy) {
  form.write.hidden = isBusy;
  form.stop.hidden = !isBusy;
  if (isBusy) form.write.textContent = "Write a campaign";
}
