// Comfort only: every page works without this file.
"use strict";

// The secret of the set-up link goes from the fragment into its field, and out of the address bar.
const link = document.querySelector("[data-fragment]");
if (link && location.hash.length > 1) {
  link.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  const next = link.form.querySelector("[data-then]");
  if (next) next.focus();
}

// Copy buttons: beside each element that carries data-copy.
for (const source of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + (source.dataset.copy || "this"));
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(source.textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  source.after(button);
}

// A file chosen is read into the text field that it belongs to.
for (const input of document.querySelectorAll("input[type=file][data-into]")) {
  const target = document.getElementById(input.dataset.into);
  input.closest("[hidden]").hidden = false;
  input.addEventListener("change", async () => {
    if (input.files.length) target.value = await input.files[0].text();
  });
}

// The reader's own time, for who points at one.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString();
}

// Filters apply as they are chosen.
for (const select of document.querySelectorAll("form[data-instant] select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// `/` goes to the search.
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector("input[type=search]");
  if (search) { event.preventDefault(); search.focus(); search.select(); }
});

// A form is sent once.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 5000);
  });
}
