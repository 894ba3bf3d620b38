"""Draws the folders of the package by floor, as tests/test_imports.py has them: python
docs/_ext/floors.py"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAYS = {  # what stands beside each floor
    "cli": "the levysde command",
    "studies": "claims, tested",
    "sweeps": "many settings, one store",
    "plots": "figures",
    "networks": "training, gradient noise, diagnosis",
    "analysis": "runs compared with theory",
    "theory": "laws, exact values",
    "kernels": "what can escape",
    "domains": "what it escapes from",
    "dynamics": "the equations; the engine",
    "noise": "losses, drivers and scales, estimators",
    "interfaces": "checks of custom parts",
    "protocols": "what joins the parts; files, tables",
    "errors": "checks, types, printing",
}
WIDTH, HEIGHT, GAP, LEFT, ACROSS = 760, 34, 16, 40, 436


def picture(floors: dict[str, int]) -> str:
    rows = sorted(set(floors.values()), reverse=True)
    tall = 8 + len(rows) * (HEIGHT + GAP)
    lines = [
        f'<svg class="floors" viewBox="0 0 {WIDTH} {tall}" role="img" '
        'xmlns="http://www.w3.org/2000/svg" '
        'font-family="sans-serif" fill="currentColor">',
        "  <title>The folders of levysde by layer: a folder imports only from lower layers</title>",
    ]
    outline = 'fill="none" stroke="currentColor" stroke-opacity="0.55"'
    for k, floor in enumerate(rows):
        top = 8 + k * (HEIGHT + GAP)
        rooms = [room for room, on in floors.items() if on == floor]
        wide = (ACROSS - 10 * (len(rooms) - 1)) / len(rooms)
        lines.append(
            f'  <text class="floor" x="14" y="{top + 23}" font-size="15" '
            f'opacity="0.6">{floor}</text>'
        )
        for i, room in enumerate(rooms):
            x = LEFT + i * (wide + 10)
            lines.append(
                f'  <rect x="{x:g}" y="{top}" width="{wide:g}" height="{HEIGHT}" rx="6" {outline}/>'
            )
            lines.append(
                f'  <text class="room" x="{x + wide / 2:g}" y="{top + 22}" font-size="14" '
                f'text-anchor="middle">{room}</text>'
            )
        says = next(SAYS[room] for room in rooms if room in SAYS)
        lines.append(f'  <text x="492" y="{top + 22}" font-size="14" opacity="0.75">{says}</text>')
        if floor:
            lines.append(
                f'  <path d="M258 {top + HEIGHT + 2} v{GAP - 5} m-5 -6 l5 6 l5 -6" {outline}/>'
            )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    from test_imports import FLOORS

    (ROOT / "docs" / "architecture.svg").write_text(picture(FLOORS))
