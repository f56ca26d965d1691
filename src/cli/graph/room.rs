//! What the library does not know of: room for the titles of frames, where on a box an arrow
//! ends, and the margin.
//!
//! Room is made by cutting the drawing along a line and moving one half away. Whatever was
//! apart before is apart afterwards.

use std::collections::BTreeMap;

use super::layout::{Area, Layout, PAD, lines, widest};
use super::title;
use crate::model::picture::Picture;

/// Around the whole.
const MARGIN: f64 = 24.0;
/// Between the outermost arrow and the corner of a box.
const CORNER: f64 = 8.0;

/// Makes each frame high and wide enough for its title, and begins the whole at the margin.
pub fn for_titles(picture: &Picture, layout: &mut Layout) {
    for (f, frame) in picture.frames.iter().enumerate() {
        let words = title(frame);
        let a = layout.frames[f];
        layout.cut_below(a.y + 1.0, lines(&words));
        let a = layout.frames[f];
        let wanted = widest(&words) + 2.0 * PAD;
        layout.cut_right_of(a.x + a.width - 1.0, (wanted - a.width).max(0.0));
    }
    layout.begin_at_margin();
}

impl Layout {
    /// Moves all that is below a line down; what it goes through becomes higher, but for boxes.
    fn cut_below(&mut self, y: f64, by: f64) {
        for a in &mut self.frames {
            match a.y >= y {
                true => a.y += by,
                false if a.y + a.height > y => a.height += by,
                false => {}
            }
        }
        for a in self.nodes.iter_mut().filter(|a| a.middle().1 >= y) {
            a.y += by;
        }
        for p in self.points().filter(|p| p.1 >= y) {
            p.1 += by;
        }
    }

    /// The same to the right.
    fn cut_right_of(&mut self, x: f64, by: f64) {
        for a in &mut self.frames {
            match a.x >= x {
                true => a.x += by,
                false if a.x + a.width > x => a.width += by,
                false => {}
            }
        }
        for a in self.nodes.iter_mut().filter(|a| a.middle().0 >= x) {
            a.x += by;
        }
        for p in self.points().filter(|p| p.0 >= x) {
            p.0 += by;
        }
    }

    fn points(&mut self) -> impl Iterator<Item = &mut (f64, f64)> {
        let arrows = self.arrows.iter_mut();
        arrows.flat_map(|l| l.bends.iter_mut().chain([&mut l.words]))
    }

    fn begin_at_margin(&mut self) {
        let mut low = (f64::INFINITY, f64::INFINITY);
        let mut high = (0.0_f64, 0.0_f64);
        let areas = self.frames.iter().chain(&self.nodes);
        let corners: Vec<(f64, f64)> = areas
            .flat_map(|a| [(a.x, a.y), (a.x + a.width, a.y + a.height)])
            .chain(self.arrows.iter().flat_map(|l| l.bends.iter().copied()))
            .collect();
        if corners.is_empty() {
            (self.width, self.height) = (240.0, 60.0);
            return;
        }
        for (x, y) in &corners {
            low = (low.0.min(*x), low.1.min(*y));
        }
        let (dx, dy) = (MARGIN - low.0, MARGIN - low.1);
        for (x, y) in &corners {
            high = (high.0.max(x + dx), high.1.max(y + dy));
        }
        for a in self.frames.iter_mut().chain(&mut self.nodes) {
            (a.x, a.y) = (a.x + dx, a.y + dy);
        }
        for p in self.points() {
            *p = (p.0 + dx, p.1 + dy);
        }
        (self.width, self.height) = (high.0 + MARGIN, high.1 + MARGIN);
    }
}

impl Area {
    pub fn middle(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// An end of an arrow at one side of a box: the height it comes from, which arrow, whether
/// it begins there.
type Touch = (f64, usize, bool);

/// Lets arrows end at the left and right sides of boxes, beside each other in the order in
/// which they come, so that they do not cross in front of the box.
pub fn for_ends(picture: &Picture, layout: &mut Layout) {
    let mut sides: BTreeMap<(usize, bool), Vec<Touch>> = BTreeMap::new();
    for (a, (arrow, line)) in picture.arrows.iter().zip(&layout.arrows).enumerate() {
        let n = line.bends.len();
        if n < 2 {
            continue;
        }
        // The first and last bends lie on the edges of the boxes; those beside them tell the side.
        let inner = |at: usize| line.bends.get(at).copied().unwrap_or(line.words);
        for (node, next, first) in [(arrow.from, inner(1), true), (arrow.to, inner(n - 2), false)] {
            let right = next.0 >= layout.nodes[node].middle().0;
            sides.entry((node, right)).or_default().push((next.1, a, first));
        }
    }
    for ((node, right), mut ends) in sides {
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let area = layout.nodes[node];
        let x = if right { area.x + area.width } else { area.x };
        let room = area.height - 2.0 * CORNER;
        let step = room / ends.iter().fold(1.0, |n, _| n + 1.0);
        let mut y = area.y + CORNER;
        for (_, arrow, first) in ends {
            y += step;
            let bends = &mut layout.arrows[arrow].bends;
            let end = if first {
                bends.first_mut()
            } else {
                bends.last_mut()
            };
            if let Some(end) = end {
                *end = (x, y);
            }
        }
    }
}
