// What a person does on the page, and what they then see: run by test_report_leaderboard.py.
(() => {
  const found = {}, panel = document.querySelector("[role=tabpanel]:not([hidden])");
  const rows = () => [...panel.querySelectorAll(".view:not([hidden]) tr[data-row]:not([hidden])")];
  const names = () => rows().map((r) => r.dataset.row);
  const set = (selector, value) => { const c = panel.querySelector(selector); c.value = value; c.dispatchEvent(new Event("input")); };
  const key = (target, name) => target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  found.start = names();
  found.views = [...panel.querySelectorAll(".view")].filter((v) => !v.hidden).length;
  const button = panel.querySelectorAll(".view:not([hidden]) .board thead button")[2];
  button.click(); found.down = names(); button.click(); found.up = names();
  found.sorted = button.parentElement.getAttribute("aria-sort");
  set(".find", "zip"); found.filtered = names(); found.count = panel.querySelector(".count").textContent; set(".find", "");
  set(".access", "pixels"); found.pixels = names(); set(".access", "");
  const references = panel.querySelector(".references"); references.checked = false;
  references.dispatchEvent(new Event("input")); found.noReferences = names();
  set(".budget", "500"); found.budget = panel.querySelector(".view:not([hidden])").dataset.budget;
  const row = rows().find((r) => r.dataset.row === "zip"); key(row, "Enter");
  const detail = row.nextElementSibling;
  found.charts = [...detail.querySelectorAll("figcaption")].map((c) => c.textContent);
  found.line = detail.querySelectorAll("svg polyline").length; found.points = detail.querySelector("svg").querySelectorAll("circle").length;
  found.expanded = row.getAttribute("aria-expanded"); row.click(); found.closed = row.getAttribute("aria-expanded");
  const tabs = document.querySelectorAll("[role=tab]"); key(tabs[0], "ArrowRight");
  found.tab = document.querySelector("[role=tabpanel]:not([hidden])").id; found.focus = document.activeElement.id;
  key(tabs[1], "ArrowLeft"); row.click();
  const out = document.createElement("pre"); out.id = "found"; out.hidden = true; out.textContent = JSON.stringify(found); document.body.append(out);
})();
