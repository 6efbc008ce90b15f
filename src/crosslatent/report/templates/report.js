(function () {
  "use strict";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");

  function channels(colour) {
    return [1, 3, 5].map(function (at) { return parseInt(colour.slice(at, at + 2), 16); });
  }

  // A colour of a scale of [place, colour] stops, place from 0 to 1.
  function mixed(stops, place) {
    var end = stops.findIndex(function (stop) { return stop[0] >= place; });
    if (end < 1) return channels(stops[end < 0 ? stops.length - 1 : 0][1]);
    var share = (place - stops[end - 1][0]) / (stops[end][0] - stops[end - 1][0]);
    var from = channels(stops[end - 1][1]), to = channels(stops[end][1]);
    return from.map(function (value, k) { return Math.round(value + share * (to[k] - value)); });
  }

  function Heatmap(figure) {
    var payload = JSON.parse(figure.querySelector(".map-data").textContent);
    var drawn = figure.querySelector(".drawn");
    var said = figure.querySelector(".cell");
    var note = figure.querySelector(".caption");
    var cells = {};
    var chosen = null;
    var view = payload.views[0];
    drawn.querySelectorAll("[data-cell]").forEach(function (cell) {
      cells[cell.dataset.cell] = cell;
    });

    function fill(name, colour) {
      if (!cells[name]) return;
      cells[name].querySelector("path").style.fill = "rgb(" + colour.join(",") + ")";
      var label = cells[name + "-label"];
      if (!label) return;
      var light = (0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]) > 140;
      label.querySelectorAll("text").forEach(function (text) {
        text.style.fill = light ? "#1c2226" : "#ffffff";
      });
    }

    function draw() {
      var stops = dark.matches ? payload.dark : payload.light;
      var low = payload.diverging ? -view.limit : 0;
      view.z.forEach(function (line, source) {
        line.forEach(function (value, target) {
          var name = source + "-" + target;
          if (value === null) {
            if (cells[name]) cells[name].querySelector("path").style.fill = "var(--card)";
          } else {
            fill(name, mixed(stops, (value - low) / (view.limit - low)));
          }
          var label = cells[name + "-label"];
          if (label) label.querySelector("text").textContent = view.text[source][target];
        });
      });
      Object.keys(cells).forEach(function (name) {
        var bar = /^bar-(\d+)$/.exec(name);
        if (bar) fill(name, mixed(stops, (Number(bar[1]) + 0.5) / 40));
      });
      var ends = [low, (low + view.limit) / 2, view.limit];
      ends.forEach(function (value, place) {
        var tick = cells["tick-" + place];
        if (tick) tick.querySelector("text").textContent = Math.round(10 * value) / 10;
      });
      note.textContent = view.note;
      if (chosen) say(chosen);
    }

    function say(at) {
      var cell = cells[at.join("-")];
      if (!cell) return;
      drawn.querySelectorAll(".chosen").forEach(function (old) { old.classList.remove("chosen"); });
      cell.classList.add("chosen");
      chosen = at;
      said.textContent = view.hover[at[0]][at[1]];
    }

    function place(event) {
      var cell = event.target.closest("[data-cell]");
      var at = cell && /^(\d+)-(\d+)/.exec(cell.dataset.cell);
      if (at) say([Number(at[1]), Number(at[2])]);
      return Boolean(at);
    }

    var picked = null;

    function pick() {
      picked = chosen;
      figure.dispatchEvent(new CustomEvent("pick", { detail: chosen.join("-") }));
    }

    drawn.addEventListener("mouseover", place);
    drawn.addEventListener("click", function (event) {
      if (place(event)) pick();
    });
    figure.addEventListener("show", function (event) {
      if (!/^\d+-\d+$/.test(event.detail)) return;
      picked = event.detail.split("-").map(Number);
      say(picked);
    });
    // What was looked at in passing is not what is shown below.
    drawn.addEventListener("mouseleave", function () { if (picked) say(picked); });
    if (figure.dataset.answers) figure.addEventListener("pick", function (event) {
      window.location.href = figure.dataset.answers + "#" + figure.dataset.component + "-" + event.detail;
    });
    drawn.addEventListener("keydown", function (event) {
      if (event.key === "Enter" && chosen) pick();
      var step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      var last = view.z.length - 1;
      say(chosen ? chosen.map(function (value, k) {
        return Math.min(Math.max(value + step[k], 0), last);
      }) : [0, 0]);
    });
    dark.addEventListener("change", draw);
    draw();
    return function (number) { view = payload.views[number]; draw(); };
  }

  // Maps that stand together have one choice of questions.
  var shows = new Map();
  document.querySelectorAll("figure").forEach(function (figure) {
    if (!figure.querySelector(".map-data")) return;
    var block = figure.closest(".block") || figure;
    shows.set(block, (shows.get(block) || []).concat(Heatmap(figure)));
  });
  shows.forEach(function (maps, block) {
    var select = block.querySelector("select");
    if (select) select.addEventListener("change", function () {
      maps.forEach(function (show) { show(Number(select.value)); });
    });
  });
})();
