// Makes pages quicker; every page and act works without it.
"use strict";
(() => {
  const said = () => document.getElementById("said");

  // A form of ours is sent in the background, and the page that answers takes this one's place.
  async function send(form, button) {
    const body = new URLSearchParams(new FormData(form));
    if (button && button.name) body.append(button.name, button.value);
    button && (button.disabled = true);
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = page.querySelector("main");
    if (!main) throw new Error("no page");
    const top = window.scrollY;
    document.querySelector("main").replaceWith(main);
    document.querySelector("header.top").replaceWith(page.querySelector("header.top"));
    document.title = page.title;
    const address = new URL(answer.url);
    if (answer.redirected || address.pathname !== new URL(form.action).pathname) {
      address.searchParams.delete("done");
      history.replaceState(null, "", address.pathname + address.search);
    }
    prepare(main);
    window.scrollTo(0, top);
    const told = main.querySelector(".problem, .done");
    (main.querySelector("[role=alert]") || main).focus({ preventScroll: !main.querySelector("[role=alert]") });
    said().textContent = told ? told.innerText : page.title;
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-swap]") || event.defaultPrevented) return;
    event.preventDefault();
    // Whatever goes wrong: the browser sends it as it does without this script.
    send(form, event.submitter).catch(() => {
      if (event.submitter && event.submitter.name) {
        const value = document.createElement("input");
        Object.assign(value, { type: "hidden", name: event.submitter.name, value: event.submitter.value });
        form.append(value);
      }
      form.submit();
    });
  });

  // One panel at a time, closed by Escape.
  document.addEventListener("toggle", (event) => {
    if (!event.target.open || !event.target.closest(".acts")) return;
    for (const other of event.target.closest(".acts").querySelectorAll("details[open]")) {
      if (other !== event.target) other.open = false;
    }
    const first = event.target.querySelector("textarea, select, input:not([type=hidden])");
    if (first && event.target.matches(":focus-within")) first.focus();
  }, true);
  document.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && document.activeElement.closest(".acts details[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });

  // Chosen rows are counted, and all of a page are chosen at once.
  function prepare(root) {
    for (const form of root.querySelectorAll("form[data-bulk]")) {
      const boxes = [...form.querySelectorAll("tbody input[type=checkbox]")];
      const count = form.querySelector("[data-count]");
      const every = form.querySelector("[name=all]");
      if (!boxes.length || !count) continue;
      const label = document.createElement("label");
      const all = document.createElement("input");
      all.type = "checkbox";
      label.className = "all";
      label.append(all, " Choose all of this page");
      form.querySelector(".scroll").before(label);
      const tell = () => {
        const chosen = boxes.filter((box) => box.checked).length;
        count.textContent = ` (${chosen})`;
        form.classList.toggle("none-chosen", !chosen && !every?.checked);
        all.checked = chosen === boxes.length;
        all.indeterminate = chosen > 0 && chosen < boxes.length;
      };
      all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; tell(); });
      for (const box of every ? [...boxes, every] : boxes) box.addEventListener("change", tell);
      tell();
    }
  }
  document.documentElement.classList.add("js");
  prepare(document);
})();
