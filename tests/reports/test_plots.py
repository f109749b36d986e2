"""Claims about the pictures of a comparison: nothing that is written in them is cut off."""

import numpy as np
import pytest

from cellbench.reports.effects import Change, Effect

pytest.importorskip("matplotlib")

from matplotlib.text import Text

from cellbench.reports import plots

LONG = (
    Change("matcher", "Hungarian", "KHM"),
    Change("decoder", "FPN", "GFD"),
    Change("convolution", "Standard", "Deformable"),
)


@pytest.mark.parametrize("changes", [LONG[:1], LONG], ids=["short", "long"])
def test_no_text_of_the_effects_leaves_the_picture(changes, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_save", lambda figure, *where: drawn.append(figure) or [])
    plots.draw_effects(
        tmp_path, [Effect(changes, (), 1, 100, -1.0, -3.0, 1.0)], title="ADI", stem="effects"
    )
    (figure,) = drawn
    figure.canvas.draw()
    inside = figure.bbox
    ticks = figure.axes[0].get_xticklabels()  # those beyond the axis are there and not drawn
    texts = [text for text in figure.findobj(Text) if text.get_text() and text not in ticks]
    assert any("95 %" in text.get_text() for text in texts)
    for text in texts:
        extent = text.get_window_extent()
        within = inside.x0 <= extent.x0 and extent.x1 <= inside.x1
        assert within, text.get_text()


@pytest.mark.parametrize("name", [r"$\frac$", "a$b$c", "50 %"])
def test_a_name_with_dollars_is_drawn_as_it_is(tmp_path, name):
    picture = np.zeros((8, 8, 3), np.uint8)
    files = plots.draw_panel(tmp_path, [[(picture, name)]], [name], "panel")
    effect = Effect((Change("part", "a", name),), (), 1, 100, -1.0, -3.0, 1.0)
    files += plots.draw_effects(tmp_path, [effect], title=name, stem="effects")
    texts = [file.read_text() for file in files if file.suffix == ".svg"]
    assert [text.count(f">{name}</text>") for text in texts] == [2, 1]
