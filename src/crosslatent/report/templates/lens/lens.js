(function () {
  "use strict";
  var slider = document.getElementById("layer");
  var layers = JSON.parse(document.getElementById("layers-data").textContent);
  var shown = document.querySelectorAll(".layer");

  function show() {
    var chosen = Number(slider.value);
    shown.forEach(function (part, layer) { part.hidden = layer !== chosen; });
    document.querySelectorAll("[data-layer]").forEach(function (line) {
      line.classList.toggle("chosen", Number(line.dataset.layer) === chosen);
    });
    document.getElementById("layer-name").textContent = layers[chosen].name;
    document.getElementById("layer-facts").textContent = layers[chosen].facts;
    slider.setAttribute("aria-valuetext", layers[chosen].name);
  }

  slider.addEventListener("input", show);
  show();
})();
