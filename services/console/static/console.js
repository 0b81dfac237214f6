// Saves a click, counts a clock, says who is here. Everything works without it.
(() => {
  "use strict";
  const zh = document.documentElement.lang.startsWith("zh");
  const [D, H, M] = zh ? ["天", "小时", "分"] : ["d", "h", "m"];
  const pad = (n) => String(n).padStart(2, "0");

  // As render.left says it.
  const span = (seconds) => {
    if (seconds >= 86400) return `${Math.floor(seconds / 86400)}${D} ${Math.floor((seconds % 86400) / 3600)}${H}`;
    if (seconds >= 3600) return `${Math.floor(seconds / 3600)}${H} ${pad(Math.floor((seconds % 3600) / 60))}${M}`;
    return `${Math.floor(seconds / 60)}${M}`;
  };

  const count = () => {
    for (const clock of document.querySelectorAll("[data-due]")) {
      const seconds = (Date.parse(clock.dateTime) - Date.now()) / 1000;
      const text = span(Math.abs(seconds));
      clock.textContent = seconds > 0 ? (zh ? `还剩 ${text}` : `${text} left`) : zh ? `超时 ${text}` : `${text} late`;
      clock.classList.toggle("late", seconds <= 0);
      clock.classList.toggle("soon", seconds > 0 && seconds < 3600);
    }
  };
  setInterval(count, 20000);
  document.body.addEventListener("htmx:afterSwap", count);

  // Whoever writes an answer is editing, until it is empty again.
  const doing = document.querySelector("#doing input[name=doing]");
  const answer = document.querySelector("[data-editing]");
  if (doing && answer) {
    const say = () => {
      const now = answer.value.trim() ? "editing" : "viewing";
      if (doing.value !== now) {
        doing.value = now;
        if (window.htmx) window.htmx.trigger("#presence", "load");
      }
    };
    answer.addEventListener("input", say);
    say();
    addEventListener("pagehide", () => {
      const form = new FormData(document.getElementById("doing"));
      form.set("doing", "leaving");
      navigator.sendBeacon(document.getElementById("presence").getAttribute("hx-post"), new URLSearchParams(form));
    });
    let sending = false;
    answer.form.addEventListener("submit", (event) => {
      sending = !(event.submitter && event.submitter.formTarget === "preview");
    });
    addEventListener("beforeunload", (event) => {
      if (!sending && answer.value.trim() && answer.value !== answer.defaultValue) event.preventDefault();
    });
  }

  // One for all of them; without script there is none, and each is chosen by itself.
  for (const all of document.querySelectorAll("[data-all]")) {
    const each = [...all.closest("form").querySelectorAll(`input[type=checkbox][name="${all.dataset.all}"]`)];
    all.hidden = false;
    all.addEventListener("change", () => each.forEach((one) => (one.checked = all.checked)));
    all.closest("form").addEventListener("change", () => {
      const chosen = each.filter((one) => one.checked).length;
      all.checked = chosen === each.length;
      all.indeterminate = chosen > 0 && chosen < each.length;
    });
  }

  for (const one of document.querySelectorAll("[data-key]")) one.setAttribute("aria-keyshortcuts", one.dataset.key);

  // One key each, as the page marks them: never while somebody types.
  addEventListener("keydown", (event) => {
    const busy = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && busy) busy.blur();
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const there = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (!there) return;
    event.preventDefault();
    if (there.matches("a, button")) there.click();
    else there.focus();
  });

  // The wall refreshes itself, and says when it cannot.
  const wall = document.querySelector("[data-stream]");
  if (wall) {
    const stream = new EventSource(wall.dataset.stream);
    const lost = document.querySelector("[data-lost]");
    stream.addEventListener("board", (event) => {
      wall.innerHTML = event.data;
      if (lost) lost.hidden = true;
      count();
    });
    stream.addEventListener("error", () => {
      if (lost) lost.hidden = false;
    });
  }
})();
