// What a person does on the page, and what they then see: run by test_report_leaderboard.py.
(() => {
  const found = {}, panel = document.querySelector(".panel:not([hidden])");
  const view = () => panel.querySelector(".view:not([hidden])");
  const rows = () => [...view().querySelectorAll("tr[data-row]:not([hidden])")];
  const names = () => rows().map((r) => r.dataset.row);
  const set = (selector, value) => { const c = panel.querySelector(selector); c.value = value; c.dispatchEvent(new Event("input")); };
  const tick = (selector, on) => { const c = panel.querySelector(selector); c.checked = on; c.dispatchEvent(new Event("input")); };
  const head = (key) => view().querySelector(`.board th[data-key=${key}]`), press = (key) => head(key).querySelector("button").click();
  const row = (name) => rows().find((r) => r.dataset.row === name), button = (name) => row(name).querySelector("th button");
  found.start = names();
  found.views = [...panel.querySelectorAll(".view")].filter((v) => !v.hidden).length;
  press("accuracy"); found.down = names(); press("accuracy"); found.up = names(); found.sorted = head("accuracy").getAttribute("aria-sort");
  press("rank"); found.ranks = [names()]; press("rank"); found.ranks.push(names());
  set(".find", "zip"); found.filtered = names(); found.count = panel.querySelector(".count").textContent;
  set(".find", "nobody"); found.nothing = names(); found.empty = !view().querySelector(".empty").hidden;
  view().querySelector(".reset").click(); found.again = names();
  set(".access", "pixels"); found.pixels = names(); set(".access", "");
  tick(".references", false); found.noReferences = names();
  set(".budget", "500"); found.budget = view().dataset.budget;
  button("zip").click();
  const detail = row("zip").nextElementSibling;
  found.charts = [...detail.querySelectorAll("figcaption")].map((c) => c.textContent);
  found.line = detail.querySelectorAll(".panels polyline").length; found.points = detail.querySelector(".panels svg").querySelectorAll("path").length;
  found.axes = [...detail.querySelectorAll(".panels svg text")].map((t) => t.textContent);
  found.expanded = button("zip").getAttribute("aria-expanded"); button("zip").click(); found.closed = button("zip").getAttribute("aria-expanded");
  // the address
  set(".find", "z"); press("tune"); row("zip").cells[0].click(); found.address = location.hash;
  const restore = (hash) => { history.replaceState(null, "", hash); window.dispatchEvent(new Event("hashchange")); };
  restore("#toy-base-to-new"); restore(found.address);
  const value = (selector) => panel.querySelector(selector).value;
  found.restored = [value(".budget"), value(".find"), panel.querySelector(".references").checked, names(), head("tune").getAttribute("aria-sort"), button("zip").getAttribute("aria-expanded")];
  restore("#nobody?after=7&sort=x.y&open=z&access=q"); found.nonsense = rows().length;
  const tabs = document.querySelectorAll(".tab"); tabs[1].click();
  found.tab = document.querySelector(".panel:not([hidden])").id; found.focus = document.activeElement.id;
  tabs[0].click(); scrollTo(0, 0);
  const out = document.createElement("pre"); out.id = "found"; out.hidden = true; out.textContent = JSON.stringify(found); document.body.append(out);
})();
