"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll("svg.plot")];
  const outputs = new Map([...document.querySelectorAll("output[data-for]")].map((o) => [o.dataset.for, o]));
  const number = (value, unit) => {
    if (value === null || value === undefined) return "–";
    const digits = unit === "$" ? 3 : value >= 100 ? 0 : 1;
    const text = value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: unit === "$" ? 2 : 0 });
    return unit === "$" ? "$" + text : unit ? text + " " + unit : text;
  };
  const clock = (seconds) => {
    const minutes = Math.floor(seconds / 60);
    const two = (n) => String(n).padStart(2, "0");
    const days = Math.floor(minutes / 1440);
    const time = two(Math.floor(minutes / 60) % 24) + ":" + two(minutes % 60);
    return days > 0 ? "day " + (days + 1) + ", " + time : time;
  };
  const point = (event) => {
    const svg = event.currentTarget;
    const box = svg.getBoundingClientRect();
    const cross = svg.querySelector(".cross");
    const left = Number(cross.dataset.left);
    const right = Number(cross.dataset.right);
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    if (x < left || x > right) return leave();
    const first = Object.values(data.charts)[0][0][2];
    const slot = Math.min(first.length - 1, Math.floor(((x - left) / (right - left)) * first.length));
    for (const plot of plots) {
      const line = plot.querySelector(".cross");
      line.setAttribute("transform", "translate(" + x.toFixed(1) + " 0)");
      line.style.opacity = 0.45;
      const rows = data.charts[plot.dataset.chart] || [];
      const text = rows.map(([name, unit, values]) => name + " " + number(values[slot], unit)).join(" · ");
      const output = outputs.get(plot.dataset.chart);
      if (output) output.textContent = clock(slot * data.step_s) + "  " + text;
    }
  };
  const leave = () => {
    for (const plot of plots) plot.querySelector(".cross").style.opacity = 0;
    for (const output of outputs.values()) output.textContent = "";
  };
  for (const plot of plots) {
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerleave", leave);
  }
})();
