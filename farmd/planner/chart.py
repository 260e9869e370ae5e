"""A plan as a Gantt chart: SVG, or a page of HTML around it. Pure: text out, no scripts, nothing from elsewhere.

One lane a machine, one a crew. Shifts are light, the time outside them dark. Before each step a person's work is
hatched, clearing and changeover apart; what is made is coloured by its setup; what ends late is outlined, with a
mark where it was due; cooling down is pale. What was announced for another machine carries a diamond. Text
stands only where it fits; all else tells itself when pointed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from html import escape

from farmd.planner.chains import TOLERANCE_S, Chains, Link, broken_wishes
from farmd.planner.chart_style import BACKDROP, STYLE, setup_classes, setup_rules
from farmd.planner.explain import work_of
from farmd.planner.plans import Plan
from farmd.planner.problem import Crew, Machine, Problem
from farmd.planner.rota import Rota
from farmd.planner.routes.chart import StationLanes
from farmd.planner.routes.explain import station_works
from farmd.planner.times import DAY_S, HOUR_S, day_clock, length

AXIS = 44.0
CREW = 34.0
MARGIN = 14.0
LETTER = 6.1
"""How wide a letter is, about, in pixels at the size of the labels."""
STEPS_H = (1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 336, 672)
NARROWEST, WIDEST = 900.0, 5000.0
PER_HOUR = 14.0
REASONS = 5
MOST_DAYS = 2000
"""Beyond so many days or working times, the background tells nothing and is left out."""


def svg(problem: Problem, plan: Plan) -> str:
    """The chart by itself."""
    chart = _Chart(problem, plan)
    height = AXIS + chart.height
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {chart.width:g} {height:g}" ',
            f'width="{chart.width:g}" height="{height:g}" role="img" aria-labelledby="t d">',
            chart.head(),
            f'<rect class="page" width="{chart.width:g}" height="{height:g}"/>',
            f"<g>{chart.axis()}</g>",
            f'<g transform="translate(0 {AXIS:g})">{chart.body()}</g></svg>\n',
        )
    )


def html(problem: Problem, plan: Plan) -> str:
    """The chart on a page, with a legend; its time axis stays in sight."""
    chart = _Chart(problem, plan)
    size = f'viewBox="0 0 {chart.width:g} {{0:g}}" width="{chart.width:g}" height="{{0:g}}"'
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(chart.title)}</title><style>{BACKDROP}</style></head><body>",
            f"<h1>{escape(chart.title)}</h1><p>{escape(chart.told)}</p>",
            chart.legend(),
            f'<div class="chart"><svg class="axis" {size.format(AXIS)} aria-hidden="true">',
            f'<rect class="page" width="{chart.width:g}" height="{AXIS:g}"/>{chart.axis()}</svg>',
            f'<svg {size.format(chart.height)} role="img" aria-labelledby="t d">',
            f"{chart.head()}{chart.body()}</svg></div></body></html>\n",
        )
    )


class _Chart:
    """Sizes and places, and the pieces of the drawing."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.chains = Chains(problem, plan)
        self.links = self.chains.links()
        self.broken = broken_wishes(self.chains)
        at_stations = station_works(problem, plan)
        self.rota = Rota(problem, [*(w for link in self.links if (w := work_of(link))), *at_stations])
        self.stations = StationLanes(problem, plan)
        machines = problem.machines
        rows = len(machines) + len(problem.stations)
        self.lane = 26.0 if rows <= 40 else 18.0 if rows <= 120 else 13.0
        names = [machine.name for machine in machines] + [s.name for s in problem.stations]
        names += [crew.name for crew in problem.crews]
        longest = max(map(len, names), default=0)
        self.left = 16 + LETTER * min(22, max(8, longest))
        self.first_s = HOUR_S * (problem.now_s // HOUR_S)
        busy_until = [link.free_s for link in self.links] + [m.available_s for m in machines]
        busy_until += [o.end_s for o in plan.operations]
        self.last_s = max([self.first_s + 6 * HOUR_S, *busy_until])
        hours = (self.last_s - self.first_s) / HOUR_S
        self.span = min(WIDEST, max(NARROWEST, PER_HOUR * hours))
        self.width = self.left + self.span + MARGIN
        self.rows = rows
        self.crews_top = self.lane * rows + (MARGIN if problem.crews else 0)
        self.height = self.crews_top + CREW * len(problem.crews) + MARGIN
        self.classes = setup_classes(link.setup or "" for link in self.links)
        late = sum(link.late_s > TOLERANCE_S for link in self.links) + len(self.stations.late)
        self.title = f"Plan of {len(self.links)} steps on {len(machines)} machines"
        if plan.operations:
            self.title += f", {len(plan.operations)} operations at {len(problem.stations)} stations"
        ends_s = max([self.chains.makespan_s(), *(o.end_s for o in plan.operations)])
        self.told = (
            f"{plan.status}: from {day_clock(problem.now_s)} to {day_clock(ends_s)}, "
            f"{late} late, weighted tardiness {length(plan.value.weighted_tardiness_s)}, "
            f"{plan.value.changeovers} changeovers, {length(plan.value.operator_s)} of people's work."
            + "".join(f" {reason}." for reason in plan.reasons[:REASONS])
            + (f" And {len(plan.reasons) - REASONS} reasons more." if len(plan.reasons) > REASONS else "")
        )

    def x(self, seconds: float) -> float:
        share = (seconds - self.first_s) / (self.last_s - self.first_s)
        return round(self.left + self.span * min(1.0, max(0.0, share)), 1)

    # --- around -------------------------------------------------------------------------------

    def head(self) -> str:
        return (
            f'<title id="t">{escape(self.title)}</title><desc id="d">{escape(self.told)} '
            "One lane a machine, then one a crew with how many of its people are at work.</desc>"
            f"<style>{STYLE}{setup_rules(self.classes)}</style>"
            '<defs><pattern id="clr" width="4" height="4" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(45)"><rect class="hb" width="4" height="4"/>'
            '<rect class="ha" width="1.4" height="4"/></pattern>'
            '<pattern id="chg" width="5" height="5" patternUnits="userSpaceOnUse">'
            '<rect class="hb" width="5" height="5"/><circle class="ha" cx="2.5" cy="2.5" r="1.5"/></pattern>'
            '<pattern id="cool" width="5" height="5" patternUnits="userSpaceOnUse" '
            'patternTransform="rotate(-45)"><rect class="cb" width="5" height="5"/>'
            '<rect class="ca" width="1" height="5"/></pattern></defs>'
        )

    def axis(self) -> str:
        """Days above, hours below, as fine as there is room."""
        out = [f'<text class="u" x="6" y="{AXIS - 8:g}">hours</text>']
        hours = self._hours()
        step_d = max(1, hours // 24)
        day = int(self.first_s // DAY_S)
        while day * DAY_S < self.last_s:
            if (day - int(self.first_s // DAY_S)) % step_d == 0:
                x, end = self.x(day * DAY_S), self.x((day + step_d) * DAY_S)
                label = f"day {day + 1}"
                if end - x >= LETTER * len(label):
                    out.append(
                        f'<path class="g" d="M{x} 4V{AXIS:g}"/>'
                        f'<text class="day" x="{x + 4:g}" y="17">{label}</text>'
                    )
            day += 1
        if hours < 24:
            out += [
                f'<text class="h" x="{self.x(at)}" y="{AXIS - 8:g}">{round(at % DAY_S / HOUR_S):02}</text>'
                for at in self._ticks(hours)
            ]
        return "".join(out)

    def _hours(self) -> int:
        per_hour = self.span / ((self.last_s - self.first_s) / HOUR_S)
        return next((h for h in STEPS_H if h * per_hour >= 26), STEPS_H[-1])

    def _ticks(self, hours: int) -> Iterator[float]:
        step = hours * HOUR_S
        at = step * -(-self.first_s // step)
        while at <= self.last_s:
            yield at
            at += step

    def legend(self) -> str:
        def item(drawn: str, text: str) -> str:
            return f'<li><svg width="22" height="14" aria-hidden="true">{drawn}</svg>{escape(text)}</li>'

        fixed = [
            item('<rect fill="url(#clr)" width="22" height="14"/>', "cleared by a person"),
            item('<rect fill="url(#chg)" width="22" height="14"/>', "changeover"),
        ]
        if any(link.late_s > TOLERANCE_S for link in self.links):
            drawn = '<rect class="p s0 late" x="6" y="1" width="15" height="12"/><path class="due" d="M2 4V13H6"/>'
            fixed.append(item(drawn, "late, and when it was due"))
        if any(link.cooldown_s for link in self.links):
            fixed.append(item('<rect fill="url(#cool)" width="22" height="14"/>', "cools down"))
        if any(machine.available_s > self.problem.now_s for machine in self.problem.machines):
            fixed.append(item('<rect class="na" width="22" height="14"/>', "not available yet"))
        if self.broken:
            fixed.append(
                item('<path class="wish" d="M6 7l5-5 5 5-5 5z"/>', "was announced for another machine")
            )
        if self.problem.crews:
            fixed.append(item('<rect class="night" width="22" height="14"/>', "nobody's working time"))
        setups = [
            item(f'<rect class="p {name}" width="22" height="14"/>', setup)
            for setup, name in list(self.classes.items())[:16]
        ]
        more = len(self.classes) - len(setups)
        rest = [f"<li>and {more} setups more</li>"] if more > 0 else []
        return f'<ul class="legend">{"".join(fixed)}</ul><ul class="legend">{"".join(setups + rest)}</ul>'

    # --- lanes --------------------------------------------------------------------------------

    def body(self) -> str:
        out = [f'<rect class="page" width="{self.width:g}" height="{self.height:g}"/>']
        out += self._background()
        out.append(f'<g class="{"sm" if self.lane < 16 else "lg"}">')
        for row, machine in enumerate(self.problem.machines):
            out.append(f'<g transform="translate(0 {row * self.lane:g})">')
            out += self._lane(machine)
            out.append("</g>")
        for row, station in enumerate(self.problem.stations, len(self.problem.machines)):
            out.append(f'<g transform="translate(0 {row * self.lane:g})">')
            out.append(self._label(station.name, self.lane / 2 + min(4.0, self.lane / 3), station.type))
            out += self.stations.lane(station, self.x, self.lane, LETTER)
            out.append("</g>")
        out.append("</g>")
        for row, crew in enumerate(self.problem.crews):
            out.append(f'<g transform="translate(0 {self.crews_top + row * CREW:g})">')
            out += self._crew(crew)
            out.append("</g>")
        return "".join(out)

    def _background(self) -> Iterator[str]:
        height = self.height - MARGIN / 2
        machines = self.lane * self.rows
        yield f'<rect class="{"night" if self.problem.crews else "day1"}" x="{self.left:g}" '
        yield f'width="{self.span:g}" height="{machines:g}"/>'
        for start, end in self._shifts():
            a, b = self.x(start), self.x(end)
            yield f'<rect class="day1" x="{a}" width="{b - a:.1f}" height="{machines:g}"/>'
        lines = "".join(f"M{self.x(at)} 0V{height:g}" for at in self._ticks(max(self._hours(), 1)))
        yield f'<path class="g fine" d="{lines}"/>'
        if self.last_s - self.first_s < MOST_DAYS * DAY_S:
            days = "".join(
                f"M{self.x(at)} 0V{height:g}" for at in self._ticks(max(24, 24 * (self._hours() // 24)))
            )
            yield f'<path class="g" d="{days}"/>'
        rows = "".join(f"M0 {row * self.lane:g}H{self.left + self.span:g}" for row in range(self.rows + 1))
        yield f'<path class="g fine" d="{rows}"/>'

    def _shifts(self) -> list[tuple[float, float]]:
        """When anybody works, as stretches that do not touch."""
        spans = sorted(
            {
                span
                for crew in self.problem.crews
                if crew.people != 0
                for span in self.problem.windows_of(crew)
            }
        )
        joined: list[tuple[float, float]] = []
        for start, end in spans:
            if start > self.last_s or end < self.first_s:
                continue
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return joined if len(joined) <= MOST_DAYS else []

    def _label(self, name: str, baseline: float, told: str) -> str:
        room = int((self.left - 12) / LETTER)
        shown = name if len(name) <= room else name[: room - 1] + "…"
        return f'<text class="n" x="6" y="{baseline:g}">{escape(shown)}<title>{escape(told)}</title></text>'

    def _lane(self, machine: Machine) -> Iterator[str]:
        kind = f"{machine.name}: {machine.type}, {machine.process}, at first {machine.setup or 'not known'}"
        yield self._label(machine.name, self.lane / 2 + min(4.0, self.lane / 3), kind)
        if machine.available_s > self.problem.now_s:
            a, b = self.x(self.problem.now_s), self.x(machine.available_s)
            told = f"{machine.name} is not available before {day_clock(machine.available_s)}"
            yield self._bar("na", a, b, 3, self.lane - 6, told)
        for begin, end in machine.shut:
            if end > self.first_s and begin < self.last_s:
                told = f"{machine.name} is shut from {day_clock(begin)} to {day_clock(end)}"
                yield self._bar("na", self.x(begin), self.x(end), 3, self.lane - 6, told)
        for link in self.chains.by_machine[machine.name]:
            yield from self._step(link)

    def _step(self, link: Link) -> Iterator[str]:
        a = link.assignment
        top, high = 2.0, self.lane - 4
        if link.attended and a.operator_start_s is not None:
            begin, mid = self.x(a.operator_start_s), self.x(a.operator_start_s + link.clear_s)
            end = self.x(a.operator_start_s + link.work_s)
            for fill, left, right in (("clr", begin, mid), ("chg", mid, end)):
                if right - left >= 0.1:
                    yield f'<rect class="{fill}" x="{left}" y="{top:g}" width="{right - left:.1f}" height="{high:g}"/>'
        x0, x1 = self.x(a.start_s), self.x(a.end_s)
        late = link.late_s > TOLERANCE_S
        yield self._bar(
            f"p {self.classes[link.setup or '']}{' late' if late else ''}",
            x0,
            x1,
            top,
            high,
            self._told(link),
        )
        if link.cooldown_s > 0:
            x2 = self.x(link.free_s)
            yield self._bar("cool", x1, x2, top, high, f"cools down until {day_clock(link.free_s)}")
        if late:
            due = self.x(min(due.due_s for due in link.dues if due.due_s < a.end_s))
            foot = self.lane - 0.8
            yield f'<path class="due" d="M{due} {0.4 * self.lane:g}V{foot:g}H{x1 if due > x0 else x0}"/>'
        wished = any(name in self.broken for name in (a.build, *a.parts))
        if wished:
            size, y = min(5.0, self.lane / 3), self.lane / 2
            shape = f"M{x0 + 1:g} {y:g}l{size:g}-{size:g} {size:g} {size:g}-{size:g} {size:g}z"
            yield f'<path class="wish" d="{shape}"/>'
        number = len(link.parts)
        text = link.name if link.build is not None else f"{number} part{'s' * (number != 1)}"
        room = x1 - x0 - (16 if wished else 6)
        if LETTER * len(text) <= room:
            y = self.lane / 2 + min(4.0, self.lane / 3)
            yield f'<text class="b" x="{x0 + (12 if wished else 4):g}" y="{y:g}">{escape(text)}</text>'

    def _bar(self, kind: str, x0: float, x1: float, y: float, height: float, told: str) -> str:
        return (
            f'<rect class="{kind}" x="{x0}" y="{y:g}" width="{max(0.6, x1 - x0):.1f}" height="{height:g}">'
            f"<title>{escape(told, quote=False)}</title></rect>"
        )

    def _told(self, link: Link) -> str:
        a = link.assignment
        lines = [
            f"{link.name} on {link.machine.name}",
            f"{link.setup or 'no setup'}, {day_clock(a.start_s)} to {day_clock(a.end_s)} "
            f"({length(link.duration_s)})",
        ]
        if link.parts:
            lines[0] = f"{len(link.parts)} parts on {link.machine.name}: {link.name}"
        if link.attended and a.operator_start_s is not None:
            change = f", of it {length(link.changeover_s)} changeover" if link.changeover_s else ""
            crew = f" by {a.crew}" if a.crew else ""
            lines.append(f"{length(link.work_s)} of work{crew} from {day_clock(a.operator_start_s)}{change}")
        if link.late_s > TOLERANCE_S:
            lines.append(f"{length(link.late_s)} late, weight {link.weight:g}")
        elif link.dues:
            lines.append(f"due {day_clock(min(due.due_s for due in link.dues))}")
        moved = sorted({self.broken[name] for name in (a.build, *a.parts) if name in self.broken})
        if moved:
            lines.append(f"was announced for {', '.join(moved)}")
        return "\n".join(lines)

    def _crew(self, crew: Crew) -> Iterator[str]:
        """How many are at work: an area under steps, with the number there are as a line."""
        times, busy = self.rota.steps(crew.name)
        most = max([1, *busy]) if crew.people is None else max(1, crew.people, *busy)
        base, unit = CREW - 4, (CREW - 10) / most
        number = "any number of people" if crew.people is None else f"{crew.people} people"
        told = f"{crew.name}: {number}, at most {max(busy)} at work at once"
        shown = crew.name if crew.people is None else f"{crew.name} ({crew.people})"
        yield self._label(shown, CREW / 2 + 4, told)
        yield f'<path class="g fine" d="M0 {base:g}H{self.left + self.span:g}"/>'
        windows = [
            w for w in sorted(self.problem.windows_of(crew)) if w[0] < self.last_s and w[1] > self.first_s
        ]
        if crew.people != 0 and len(windows) <= MOST_DAYS:
            top = base - unit * (crew.people if crew.people is not None else most)
            for start, end in windows:
                a, b = self.x(start), self.x(end)
                yield f'<rect class="on" x="{a}" y="{top:g}" width="{b - a:.1f}" height="{base - top:g}"/>'
        path = "".join(_steps(zip(times[1:], busy[1:], strict=True), self.x, base, unit))
        if path:
            yield f'<path class="at" d="{path}"><title>{escape(told)}</title></path>'


def _steps(
    points: Iterable[tuple[float, int]], x: Callable[[float], float], base: float, unit: float
) -> Iterator[str]:
    """The outline under a step function, from and to its base."""
    began, last = False, 0
    for time, number in points:
        if number == last:
            continue
        if not began:
            yield f"M{x(time)} {base:g}"
            began = True
        yield f"H{x(time)}V{base - unit * number:.1f}"
        last = number
    if began:
        yield "Z"
