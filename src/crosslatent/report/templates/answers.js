(function () {
  "use strict";
  var data = window.crosslatentAnswers, EACH = 20;
  var form = document.querySelector("form.filters");
  var list = document.querySelector(".answers-list");
  var said = document.querySelector(".answers-said");
  var figures = Array.prototype.slice.call(document.querySelectorAll("figure[data-component]"));
  var at = { component: "", arm: "", pair: "", page: 0 };

  function element(name, className, text) {
    var made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function fill(name, options, chosen) {
    var select = form.elements[name];
    select.textContent = "";
    options.forEach(function (option) {
      var made = element("option", "", option[1]);
      made.value = option[0];
      select.appendChild(made);
    });
    if (options.some(function (option) { return option[0] === chosen; })) select.value = chosen;
    select.closest("label").hidden = options.length < 2;
    return select.value;
  }

  function unique(values) { return values.filter(function (value, k) { return values.indexOf(value) === k; }); }

  function named(codes, all) {
    return [["", all]].concat(codes.map(function (code) { return [code, data.languages[code] || code]; }));
  }

  // The selects that follow from each other: component, vector, pair of layers.
  function choose() {
    at.component = fill("component", data.components, at.component);
    var arms = data.cells[at.component] || data.cells[""] || {};
    at.arm = fill("arm", Object.keys(arms).map(function (arm) { return [arm, data.arms[arm]]; }), at.arm || "none");
    var pairs = Object.keys(arms[at.arm] || {});
    var first = pairs.indexOf(data.picked[at.component]) >= 0 ? data.picked[at.component] : pairs[0];
    if (pairs.indexOf(at.pair) < 0) at.missing = at.pair;
    at.pair = fill("pair", pairs.map(function (pair) { return [pair, pair.replace("-", " \u2192 ")]; }),
      pairs.indexOf(at.pair) < 0 ? first : at.pair);
    if (at.missing === at.pair) at.missing = "";
    figures.forEach(function (figure) {
      figure.hidden = figure.dataset.component !== at.component;
      figure.dispatchEvent(new CustomEvent("show", { detail: at.pair }));
    });
  }

  function cell() { return ((data.cells[at.component] || data.cells[""] || {})[at.arm] || {})[at.pair]; }

  function outcome(before, after) {
    if (!before || !after) return "";
    if (before[2] < 0 || after[2] < 0) return before[0] === after[0] ? "unchanged" : "changed";
    if (before[2] === after[2]) return after[2] ? "still right" : "still wrong";
    return after[2] ? "repaired" : "broken";
  }

  function found() {
    var after = cell() || [], lang = form.elements.lang.value, split = form.elements.split.value;
    var wanted = form.elements.outcome.value, text = form.elements.text.value.toLowerCase();
    return data.items.map(function (item, place) {
      var last = item.answers[after[place]];
      var before = item.answers[item.vanilla];
      return { item: item, place: place, before: before, after: last, outcome: outcome(before, last) };
    }).filter(function (one) {
      return (one.after || !after.length) && (!lang || one.item.lang === lang || one.item.auxLang === lang)
        && (!split || one.item.split === split)
        && (!wanted || one.outcome === wanted)
        && (!text || (one.item.main.join("") + one.item.aux.join("") + one.item.id).toLowerCase().indexOf(text) >= 0);
    });
  }

  function prompt(role, text, lang, dir) {
    var whole = element("div", "prompt"), shown = element("div", "text");
    whole.appendChild(element("div", "role", role + " \u00b7 " + (data.languages[lang] || lang)));
    shown.lang = lang;
    shown.dir = dir;
    shown.appendChild(document.createTextNode(text[0]));
    if (text[1]) shown.appendChild(element("mark", "", text[1]));
    whole.appendChild(shown);
    return whole;
  }

  function answer(role, given, lang) {
    var state = given ? given[2] : -1;
    var whole = element("div", "answer " + (state > 0 ? "right" : state === 0 ? "wrong" : ""));
    whole.appendChild(element("div", "role", role));
    var shown = element("div", "text"), output = element("bdi", "", given ? given[0] || "(nothing)" : "(not run)");
    output.lang = lang;
    shown.appendChild(element("span", "sign", state > 0 ? "\u2713 " : state === 0 ? "\u2717 " : "\u00b7 "));
    shown.firstChild.setAttribute("aria-hidden", "true");
    shown.appendChild(element("span", "visually-hidden", state > 0 ? "right: " : state === 0 ? "wrong: " : ""));
    shown.appendChild(output);
    if (given && given[1] && given[0].indexOf(given[1]) < 0) {
      var label = element("bdi", "", " " + given[1]);
      label.lang = lang;
      shown.appendChild(label);
    }
    whole.appendChild(shown);
    return whole;
  }

  function card(one) {
    var item = one.item, whole = element("article", "example wide");
    if (one.outcome) whole.appendChild(element("p", "chip " + one.outcome.replace(" ", "-"), one.outcome));
    whole.appendChild(prompt("Question", item.main, item.lang, item.dir));
    whole.appendChild(prompt("Counterpart", item.aux, item.auxLang, item.auxDir));
    var donor = data.items[(data.donors[at.arm] || [])[one.place]];
    if (donor) whole.appendChild(prompt("Vector of", donor.aux, donor.auxLang, donor.auxDir));
    var answers = element("div", "answers");
    answers.appendChild(answer("Before", one.before, item.lang));
    answers.appendChild(answer("After", one.after, item.lang));
    if (item.translate_test !== undefined)
      answers.appendChild(answer("Counterpart answered", item.answers[item.translate_test], item.auxLang));
    whole.appendChild(answers);
    if (item.gold) {
      var gold = element("p", "gold", "Right: "), text = element("bdi", "", item.gold);
      text.lang = item.lang;
      gold.appendChild(text);
      [item.split, item.id].filter(Boolean).forEach(function (name) {
        gold.appendChild(document.createTextNode(" \u00b7 "));
        gold.appendChild(element("bdi", "", name));
      });
      whole.appendChild(gold);
    }
    return whole;
  }

  function draw() {
    var all = found(), pages = Math.max(1, Math.ceil(all.length / EACH)), counts = {};
    at.page = Math.min(Math.max(at.page, 0), pages - 1);
    list.textContent = "";
    all.slice(at.page * EACH, (at.page + 1) * EACH).forEach(function (one) { list.appendChild(card(one)); });
    all.forEach(function (one) { counts[one.outcome] = (counts[one.outcome] || 0) + 1; });
    said.textContent = (at.missing ? at.missing.replace("-", " \u2192 ") + " is not here; shown is "
      + at.pair.replace("-", " \u2192 ") + ". " : "")
      + all.length + (all.length === 1 ? " question" : " questions")
      + Object.keys(counts).filter(Boolean).map(function (name) { return ", " + counts[name] + " " + name; }).join("")
      + (pages > 1 ? "; page " + (at.page + 1) + " of " + pages : "");
    document.querySelector("[name=previous]").disabled = at.page === 0;
    document.querySelector("[name=next]").disabled = at.page === pages - 1;
    var hash = [at.component, at.pair].filter(Boolean).join("-");
    if (hash && window.history.replaceState) window.history.replaceState(null, "", "#" + hash);
  }

  function go(component, pair) {
    at.component = component || at.component;
    at.pair = pair;
    at.page = 0;
    at.missing = "";
    choose();
    draw();
  }

  function fromAddress() {
    var asked = /^#([A-Za-z_]+)-(\d+-\d+)$/.exec(window.location.hash);
    go(asked ? asked[1] : "", asked ? asked[2] : "");
  }

  figures.forEach(function (figure) {
    figure.addEventListener("pick", function (event) { go(figure.dataset.component, event.detail); });
  });
  form.addEventListener("input", function (event) {
    var name = event.target.name;
    if (["component", "arm", "pair"].indexOf(name) >= 0) {
      at[name] = event.target.value;
      at.missing = "";
      choose();
    }
    at.page = 0;
    draw();
  });
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  ["previous", "next"].forEach(function (name) {
    document.querySelector("[name=" + name + "]").addEventListener("click", function () {
      at.page += name === "next" ? 1 : -1;
      draw();
      said.scrollIntoView();
    });
  });
  window.addEventListener("hashchange", fromAddress);

  fill("lang", named(unique(data.items.map(function (item) { return item.lang; }).concat(
    data.items.map(function (item) { return item.auxLang; }))), "all languages"), "");
  fill("split", [["", "all questions"]].concat(unique(data.items.map(function (item) { return item.split; }))
    .filter(Boolean).map(function (name) { return [name, name]; })), data.split);
  fromAddress();
})();
