// Loads the page in frames of several widths, with JavaScript (rich.html) and without (still.html), opens a row and every
// fold, and notes what axe-core finds and what is cut off: run by test_report_leaderboard.py.
(async () => {
  const found = { clipped: [], costs: {}, violations: [], passes: 0, seen: 0, dark: matchMedia("(prefers-color-scheme: dark)").matches };
  const load = (name, width) => new Promise((done) => {
    const frame = document.createElement("iframe");
    Object.assign(frame.style, { width: width + "px", height: "4000px", border: 0 });
    frame.title = name; frame.src = name; frame.addEventListener("load", () => done(frame)); document.body.append(frame);
  });
  const clipped = (page, width) => {
    const wide = page.document.documentElement.scrollWidth > width ? ["the page"] : [];
    const parts = [...page.document.querySelectorAll(".scroll, .stack, .charts, .panels, pre, dl, .headline, .controls, .legend, td, th")];
    const cut = (e) => e.offsetParent && (e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > width + 1) && getComputedStyle(e).display !== "inline";
    return [...wide, ...parts.filter(cut).map((e) => `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 40)}`)];
  };
  for (const width of WIDTHS) for (const name of ["rich.html", "still.html"]) {
    const frame = await load(name + (name === "rich.html" ? "#toy-few-shot?open=zip&variants=1" : ""), width), page = frame.contentWindow;
    page.document.querySelectorAll("details").forEach((d) => { d.open = true; });
    const tabs = name === "rich.html" ? [...page.document.querySelectorAll(".tab")] : [null];
    for (const tab of tabs) {
      tab?.click();
      found.clipped.push(...clipped(page, width).slice(0, 5).map((what) => `${name} ${width} ${tab?.textContent}: ${what}`));
    }
    tabs[0]?.click();
    // the costs of the row ZIP, as they can be seen: under its name, and in a column of their own
    const row = page.document.querySelector(".view:not([hidden]) tr[data-row=zip]") || page.document.querySelector("tr[data-row=zip]");
    const under = page.getComputedStyle(row.querySelector("th"), "::after").content, column = [...row.querySelectorAll("td.medium")].some((c) => c.offsetParent);
    found.costs[`${name} ${width}`] = [under === "none" ? "" : under.replaceAll('"', ""), column];
    found.seen += 1;
    if (name !== "rich.html" || !CHECKED.includes(width)) { frame.remove(); continue; }
    const result = await page.axe.run(page.document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
    found.violations.push(...result.violations.map((v) => `${name} ${width} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 120) + " " + (n.any[0]?.message || "")).join(" | ")}`));
    found.passes = result.passes.length;
    frame.remove();
  }
  const out = document.createElement("pre"); out.id = "found"; out.hidden = true; out.textContent = JSON.stringify(found); document.body.append(out);
})();
