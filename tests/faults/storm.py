"""``make faults``: random scenarios, every crash point, extremes; counted from amoCRM against the clinic."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from tests.faults.big import big
from tests.faults.crash import Point
from tests.faults.extremes import EXTREMES
from tests.faults.judge import Verdict
from tests.faults.leaks import leaks
from tests.faults.points import Points
from tests.faults.scenario import play
from tests.faults.tally import Tally
from tests.faults.world import World, stand_in, template

__all__ = ["main"]

console = Console()
PATIENTS, APPOINTMENTS = 10_000, 20_000
Part = tuple[str, Tally]


class Stage:
    """What one process plays on: a stand-in and a configured clinic, made once."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ident-amocrm-faults-"))
        self._server = stand_in()
        self.crm = self._server.__enter__()
        self.origin = template(self.folder / "origin", self.crm)
        self.points = Points(self.origin, self.crm, self.folder / "points")
        atexit.register(self.close)

    def close(self) -> None:
        """Stop the stand-in and remove everything."""
        self._server.__exit__(None, None, None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def scenario(self, number: int) -> Part:
        """Play a random scenario."""
        played = play(self.origin, self.crm, self.folder / "scenario", number)
        return self._told("scenarios", f"scenario {number}", *played)

    def death(self, stretch: str, point: Point) -> Part:
        """Die at a point."""
        return self._told("crash points", f"{stretch}: {point}", *self.points.crash(stretch, point))

    def extreme(self, name: str) -> Part:
        """Play an extreme."""
        world = World.copy(self.origin, self.crm, self.folder / "extreme", seed=1)
        with world.open():
            verdict = EXTREMES[name](world)
        return self._told("extremes", name, world, verdict)

    def every_point(self) -> list[tuple[str, Point]]:
        """Return the points that are worth a death."""
        return list(self.points.all())

    @staticmethod
    def _told(part: str, title: str, world: World, verdict: Verdict) -> Part:
        tally = Tally.of(title, world, verdict, leaks(world))
        shutil.rmtree(world.folder)
        return part, tally


@cache
def _stage() -> Stage:
    return Stage()


def _on_stage(work: str, *values: Any) -> Any:
    """Call a method of this process's stage."""
    return getattr(_stage(), work)(*values)


def _large(patients: int, appointments: int, seed: int) -> Part:
    with tempfile.TemporaryDirectory(prefix="ident-amocrm-big-") as name, stand_in() as crm:
        seen = big(Path(name), crm, patients=patients, appointments=appointments, seed=seed)
        tally = Tally.of("big", seen.world, seen.verdict, leaks(seen.world))
        console.print(
            f"{patients} patients, {appointments} appointments: {seen.differing} cards differ from the "
            f"fault-free state; {seen.world.faults.total()} faults, {seen.seconds:.0f} s"
        )
        tally.counts["unexplained"] += seen.differing
        return "big", tally


def main(
    scenarios: Annotated[int, typer.Option(min=0, help="Random scenarios.")] = 300,
    seed: Annotated[
        int, typer.Option(help="Number of the first scenario: the same number, the same story.")
    ] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that play at once.")] = 2,
    points: Annotated[bool, typer.Option(help="Die at every crash point.")] = True,
    extremes: Annotated[bool, typer.Option(help="Two writers, full disk, wrong clock and more.")] = True,
    large: Annotated[
        bool, typer.Option("--big", help="Also 10 000 patients, 5 % of requests spoiled.")
    ] = False,
    patients: Annotated[int, typer.Option(help="Patients of --big.")] = PATIENTS,
    appointments: Annotated[int, typer.Option(help="Appointments of --big.")] = APPOINTMENTS,
) -> None:
    """Play the storm; exit 1 unless nothing was doubled, lost, left unexplained or given away."""
    parts: dict[str, Tally] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        acts: list[tuple[Any, ...]] = [("scenario", number) for number in range(seed, seed + scenarios)]
        if points:
            acts += [("death", *death) for death in pool.submit(_on_stage, "every_point").result()]
        if extremes:
            acts += [("extreme", name) for name in EXTREMES]
        playing = [pool.submit(_on_stage, *act) for act in acts]
        for future in track(as_completed(playing), "storm", len(playing), console=console, transient=True):
            name, tally = future.result()
            parts.setdefault(name, Tally()).add(tally)
            for story in tally.stories:
                console.print(story, markup=False, highlight=False, soft_wrap=True)
    if large:
        name, tally = _large(patients, appointments, seed)
        parts[name] = tally
        for story in tally.stories:
            console.print(story[-5000:], markup=False, highlight=False, soft_wrap=True)
    console.print(Tally.table(parts))
    raise typer.Exit(0 if parts and all(part.sound for part in parts.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
