"""Draw the pictures of the published systems, one SVG each.

    python docs/systems/draw.py

On the left is what the encoder is shown, on the right what the pretext asks for. Colours are Okabe and Ito's, which
colour-blind readers can tell apart. Text stays text, so that the files are small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
SITES = np.array([(x, y) for y in (0.0, 0.8, 1.6) for x in (0.0, 0.8, 1.6)])
EDGES = [(i, j) for i in range(9) for j in range(i) if np.isclose(np.linalg.norm(SITES[i] - SITES[j]), 0.8)]
NOISE = 0.13 * np.array(
    [(1, -1), (-1, 0.6), (0.7, 1), (-1, -0.8), (0.9, 0.7), (0.3, -1), (1, 0.4), (-0.5, 1), (-1, -0.6)]
)
MIDDLE = 4


def crystal(
    ax: Axes, x: float, y: float, *, noise: float = 0, masked: Iterable[int] = (), shear: float = 0, seed: int = 1,
    edges: Iterable[tuple[int, int]] = EDGES, ghost: bool = False, colours: Sequence[str] = (BLUE, ORANGE),
) -> np.ndarray:  # fmt: skip
    """A layer of rock salt with its lower left atom at (x, y), displaced, masked or strained.

    Returns:
        Where its atoms are, ``(9, 2)``.
    """
    at_rest = SITES + np.array([x, y])
    places = at_rest + noise * np.roll(NOISE, seed, axis=0)
    places[:, 0] += shear * (places[:, 1] - y)
    if ghost:
        for site in at_rest:
            ax.add_patch(Circle(site, 0.17, fill=False, ec=GREY, lw=0.7, ls=":"))
    for i, j in edges:
        ax.plot(*places[[i, j]].T, color=GREY, lw=1, zorder=1)
    for i, place in enumerate(places):
        hidden = i in set(masked)
        ax.add_patch(
            Circle(place, 0.17, fc="white" if hidden else colours[i % len(colours)], ec="black", lw=0.8, zorder=2)
        )
        if hidden:
            text(ax, *place, "?")
    return places


def text(
    ax: Axes, x: float, y: float, what: str, *, size: float = 9, colour: str = "black", ha: str = "center"
) -> None:
    """A text around, or to the right of, (x, y)."""
    ax.text(x, y, what, ha=ha, va="center", fontsize=size, color=colour, zorder=4)
    width = 0.015 * size * max(map(len, what.splitlines()))
    ax.update_datalim([(x - (ha == "center") * width / 2, y - 0.15), (x + width, y + 0.15)])


def arrow(ax: Axes, start: Sequence[float], end: Sequence[float], *, colour: str = "black") -> None:
    """From one point to another."""
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", tuple(end), tuple(start), arrowprops=style, zorder=3)


def box(ax: Axes, x: float, y: float, what: str, *, colour: str = "0.93", width: float = 1.5) -> None:
    """A rounded box around (x, y)."""
    ax.add_patch(
        FancyBboxPatch((x - width / 2, y - 0.22), width, 0.44, boxstyle="round,pad=0.04", fc=colour, ec="black", lw=0.8)
    )
    text(ax, x, y, what)


def encoder(ax: Axes, y: float = 0.8, *, start: float = 2.0, end: float = 4.9, what: str = "encoder") -> None:
    """An encoder with an arrow into it and one out of it."""
    x = 3.5
    arrow(ax, (start, y), (x - 0.8, y))
    box(ax, x, y, what)
    arrow(ax, (x + 0.8, y), (end, y))


def dssl(ax: Axes) -> None:
    """A hidden element, and two perturbed copies with one vector."""
    crystal(ax, 0, 0, masked=[MIDDLE])
    encoder(ax)
    text(ax, 5.0, 0.8, "element of ?", ha="left")
    for y, seed in ((2.6, 1), (5.1, 4)):
        crystal(ax, 0, y, noise=1, ghost=True, seed=seed)
        encoder(ax, y=y + 0.8)
    text(ax, 5.0, 3.4, "z'", ha="left")
    text(ax, 5.0, 5.9, "z", ha="left")
    text(ax, 5.5, 4.65, "same direction", ha="left", colour=GREEN)
    arrow(ax, (5.3, 4.65), (5.1, 5.6), colour=GREEN)
    arrow(ax, (5.3, 4.65), (5.1, 3.7), colour=GREEN)


def atomic_representations(ax: Axes) -> None:
    """Group and period of a hidden atom, and its distances."""
    crystal(ax, 0, 0, masked=[MIDDLE], edges=[e for e in EDGES if MIDDLE not in e])
    for i in (1, 3, 5, 7):
        ax.plot(*(SITES[[MIDDLE, i]]).T, color=RED, lw=1.2, ls="--", zorder=1)
    encoder(ax)
    text(ax, 5.0, 1.15, "group and period of ?", ha="left")
    text(ax, 5.0, 0.45, "length of each red edge", ha="left", colour=RED)


def derivative_based(ax: Axes) -> None:
    """An energy whose gradient points back."""
    places = crystal(ax, 0, 0, noise=1.3, ghost=True)
    encoder(ax, end=4.7)
    text(ax, 4.85, 0.8, "E", ha="left", size=11)
    arrow(ax, (5.2, 0.8), (6.3, 0.8))
    text(ax, 5.75, 1.1, "-dE/dx", size=8)
    for place, at_rest in zip(places + np.array([6.7, 0]), SITES + np.array([6.7, 0]), strict=True):
        arrow(ax, place, at_rest - 0.6 * (place - at_rest), colour=RED)
        ax.add_patch(Circle(place, 0.06, fc="black", zorder=4))


def deep_infomax(ax: Axes) -> None:
    """True surroundings against negatives."""
    for x, what, options in (
        (0, "own surroundings", {}),
        (3.2, "other species", {"colours": (GREEN, RED)}),
        (6.4, "other distances", {"noise": 1.8}),
        (9.6, "neighbours permuted", {"colours": (ORANGE, BLUE, ORANGE, ORANGE, BLUE, BLUE, ORANGE, BLUE, BLUE)}),
    ):
        places = crystal(ax, x, 0, **options)
        ax.add_patch(Circle(places[MIDDLE], 1.0, fill=False, ec=GREEN if x == 0 else RED, lw=1.5, zorder=3))
        text(ax, x + 0.8, -0.75, what, size=8)
        text(ax, x + 0.8, 2.35, "true" if x == 0 else "negative", colour=GREEN if x == 0 else RED)


def crystal_twins(ax: Axes) -> None:
    """Two masked views whose dimensions correlate one by one."""
    for y, masked, dropped, seed in ((2.6, 2, (4, 1), 1), (0, 6, (8, 5), 4)):
        crystal(ax, 0, y, noise=0.5, masked=[masked], edges=[e for e in EDGES if e != dropped], seed=seed)
        encoder(ax, y=y + 0.8)
    text(ax, 5.0, 3.4, "z", ha="left")
    text(ax, 5.0, 0.8, "z'", ha="left")
    for i, j in np.ndindex(5, 5):
        ax.add_patch(Rectangle((6.2 + 0.4 * i, 2.9 - 0.4 * j), 0.3, 0.3, fc=BLUE if i == j else "0.93"))
    text(ax, 7.15, 0.75, "correlation of z and z':\n1 on the diagonal, 0 elsewhere", size=8)


def cdssl(ax: Axes) -> None:
    """Lengths of a fixed set of edges at rest."""
    crystal(ax, 0, 0, noise=1.3, ghost=True)
    encoder(ax)
    text(ax, 5.0, 1.15, "edges as they were", ha="left", colour=GREEN)
    text(ax, 5.0, 0.45, "before the atoms moved", ha="left", colour=GREEN)


def textbook(ax: Axes) -> None:
    """Bonds, springs and bands."""
    crystal(ax, 0, 0)
    encoder(ax)
    for x, title in ((5.3, "bonds"), (7.8, "vibrations"), (10.3, "bands")):
        text(ax, x + 0.7, 2.0, title)
    for x, colour, sign in ((5.6, BLUE, "+"), (6.6, ORANGE, "-")):
        ax.add_patch(Circle((x, 0.8), 0.22, fc=colour, ec="black", lw=0.8, zorder=2))
        text(ax, x, 1.25, sign)
    ax.plot([5.8, 6.4], [0.8, 0.8], color="black", lw=2)
    spring(ax, (7.9, 0.8), (9.1, 0.8))
    for x, colour in ((7.9, BLUE), (9.1, ORANGE)):
        ax.add_patch(Circle((x, 0.8), 0.22, fc=colour, ec="black", lw=0.8, zorder=2))
    k = np.linspace(-1, 1, 40)
    ax.plot(11.0 + 0.6 * k, 1.35 - 0.25 * np.cos(3 * k), color=ORANGE, lw=1.5)
    ax.plot(11.0 + 0.6 * k, 0.35 + 0.25 * np.cos(3 * k), color=BLUE, lw=1.5)


def spring(ax: Axes, start: Sequence[float], end: Sequence[float]) -> None:
    """A zigzag between two points."""
    a, b = np.array(start), np.array(end)
    along = np.linspace(0.15, 0.85, 11)
    across = 0.09 * np.array([0, *[(-1) ** i for i in range(9)], 0])
    normal = np.array([-(b - a)[1], (b - a)[0]]) / np.linalg.norm(b - a)
    points = np.vstack([a, a + along[:, None] * (b - a) + across[:, None] * normal, b])
    ax.plot(*points.T, color="black", lw=0.9, zorder=1)


def jepa(ax: Axes) -> None:
    """The teacher sees all; the encoder predicts its vectors."""
    crystal(ax, 0, 2.6, masked=[MIDDLE, 1])
    encoder(ax, y=3.4, what="encoder")
    text(ax, 5.0, 3.4, "vector of ?", ha="left")
    crystal(ax, 0, 0)
    encoder(ax, y=0.8, what="teacher")
    text(ax, 5.0, 0.8, "vector of the atom", ha="left")
    arrow(ax, (3.4, 3.1), (3.4, 1.1), colour=GREY)
    text(ax, 3.5, 2.1, "slow average of weights", size=8, colour=GREY, ha="left")
    arrow(ax, (6.6, 3.1), (6.6, 1.15), colour=GREEN)
    text(ax, 6.75, 2.1, "predict", colour=GREEN, ha="left")


def conditioned_denoising(ax: Axes) -> None:
    """Displacements, with a vector of the crystal at rest as a hint."""
    crystal(ax, 0, 2.6, noise=1.3, ghost=True)
    encoder(ax, y=3.4)
    box(ax, 5.7, 3.4, "head")
    arrow(ax, (6.5, 3.4), (7.1, 3.4))
    text(ax, 7.2, 3.4, "displacements", ha="left", colour=RED)
    crystal(ax, 0, 0)
    encoder(ax, y=0.8)
    text(ax, 5.0, 0.8, "mean vector at rest", ha="left")
    arrow(ax, (5.7, 1.1), (5.7, 3.1), colour=GREEN)
    text(ax, 5.85, 2.1, "scales and shifts", ha="left", colour=GREEN, size=8)


def structure_denoising(ax: Axes) -> None:
    """Elements, displacements and strain."""
    crystal(ax, 0, 0, noise=1.0, shear=0.3, masked=[1, 5])
    encoder(ax, start=2.4)
    for y, what in ((1.5, "elements of ?"), (0.8, "displacement of each atom"), (0.1, "strain of the lattice")):
        text(ax, 5.0, y, what, ha="left")


def promolecular_density(ax: Axes) -> None:
    """What the neighbours' free atoms add up to at a nucleus."""
    for i, site in enumerate(SITES):
        if i != MIDDLE:
            for radius in (0.75, 0.55, 0.35):
                ax.add_patch(Circle(site, radius, fc=(BLUE, ORANGE)[i % 2], alpha=0.13, lw=0))
            ax.add_patch(Circle(site, 0.07, fc="black", zorder=3))
    ax.add_patch(Circle(SITES[MIDDLE], 0.12, fc="white", ec=RED, lw=1.8, zorder=4))
    encoder(ax, start=2.5)
    text(ax, 5.0, 1.15, "density of the neighbours' free atoms", ha="left")
    text(ax, 5.0, 0.45, "at the nucleus, and its derivatives", ha="left")


def spring_forces(ax: Axes) -> None:
    """Energies, forces and stresses of springs around a displaced copy."""
    places = crystal(ax, 0, 0, noise=1.2, ghost=True, edges=())
    for i, j in EDGES:
        spring(ax, places[i], places[j])
    encoder(ax)
    for y, what in ((1.5, "energy of the springs"), (0.8, "forces: -dE/dx"), (0.1, "stress: dE/dε / V")):
        text(ax, 5.0, y, what, ha="left")


PICTURES: list[Callable[[Axes], None]] = [
    dssl, atomic_representations, derivative_based, deep_infomax, crystal_twins, cdssl, textbook, jepa,
    conditioned_denoising, structure_denoising, promolecular_density, spring_forces,
]  # fmt: skip


def draw(picture: Callable[[Axes], None], path: Path) -> None:
    """Write a picture, at about half an inch a unit and with nothing around it."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": picture.__name__, "font.family": "sans-serif"}):
        figure = Figure(figsize=(7, 3))
        FigureCanvasSVG(figure)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set_aspect("equal")
        picture(ax)
        ax.autoscale_view()
        low, high = ax.get_ylim()
        left, right = ax.get_xlim()[0], max(8.8, ax.get_xlim()[1] + 0.3)
        ax.set(xlim=(left - 0.15, right), ylim=(low - 0.15, high + 0.15))
        figure.set_size_inches(0.55 * (right - left + 0.15), 0.55 * (high - low + 0.3))
        figure.savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    for picture in PICTURES:
        draw(picture, FOLDER / f"{picture.__name__.replace('_', '-')}.svg")
