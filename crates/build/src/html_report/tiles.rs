//! Responsible for a treemap: a rectangle for each part, whose area is the part's size in the
//! image.
//!
//! Names are never cut: a name is broken behind its hyphens, written smaller or downwards, or left
//! to the text that browsers show under the pointer, and to the table.

use indicatif::HumanBytes;

use super::{html::escape, packages::Part};
use crate::contents::Space;

/// Rectangle of a part, in the units of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tile {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Class, width and height of the whole in its own units, for wide windows, for narrow ones and for
/// those between. The style sheet decides which of them is shown.
const WHOLES: [(&str, f64, f64); 3] = [
    ("wide", 1160.0, 500.0),
    ("medium", 700.0, 520.0),
    ("tall", 340.0, 620.0),
];
/// Maximum number of parts with a tile of their own. The other parts share one tile.
const TILES_MAX: usize = 80;
/// Smallest share of the whole that has a tile of its own. A smaller tile could not be seen.
const PART_MIN: f64 = 1.0 / 3000.0;
/// Distance from a tile's edges to its text.
const MARGIN: f64 = 4.0;
/// Sizes of letters for names, the preferred one first.
const LETTERS: [f64; 3] = [13.0, 11.0, 9.0];
/// Height of a line of text as a multiple of its letters' size.
const LINE: f64 = 1.25;
/// Width of a letter as a multiple of its size, a little more than that of most letters.
const LETTER: f64 = 0.64;
/// Number of shades of a colour. Neighbours in the list are neighbours in the picture.
const SHADES: usize = 3;

/// Text of a tile.
#[derive(Debug, Clone, PartialEq)]
struct Label {
    lines: Vec<String>,
    letters: f64,
    /// Whether the text runs downwards.
    is_turned: bool,
}

/// Draws parts. The largest comes first.
pub(super) fn render(parts: &[Part]) -> String {
    let (shown, rest) = with_rest(parts);
    let name = format!("{} more", parts.len() - shown.len());
    let rest = (rest.files > 0).then(|| Part::rest(&name, rest));
    let parts: Vec<&Part> = shown.iter().chain(&rest).collect();
    let pictures = WHOLES.map(|(class, width, height)| render_one(&parts, class, width, height));
    pictures.concat()
}

/// Returns the parts that can be seen, and the space of all others.
fn with_rest<'a, 'b>(parts: &'b [Part<'a>]) -> (&'b [Part<'a>], Space) {
    let total: u64 = parts.iter().map(|part| part.space.stored).sum();
    let large = parts.iter().take(TILES_MAX).take_while(|part| {
        part.space.stored > 0 && part.space.stored as f64 >= total as f64 * PART_MIN
    });
    let (shown, rest) = parts.split_at(large.count());
    let rest = rest.iter().fold(Space::default(), |sum, part| Space {
        files: sum.files + part.space.files,
        bytes: sum.bytes + part.space.bytes,
        stored: sum.stored + part.space.stored,
    });
    let is_visible = rest.stored > 0;
    (shown, if is_visible { rest } else { Space::default() })
}

fn render_one(parts: &[&Part], class: &str, width: f64, height: f64) -> String {
    let whole = Tile {
        x: 0.0,
        y: 0.0,
        width,
        height,
    };
    let weights: Vec<u64> = parts.iter().map(|part| part.space.stored).collect();
    let mut svg = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Sizes of packages in the image, as in the table of packages\">\n"
    );
    for (number, (part, tile)) in parts.iter().zip(lay_out(&weights, whole)).enumerate() {
        let Tile {
            x,
            y,
            width,
            height,
        } = tile;
        let size = HumanBytes(part.space.stored).to_string();
        let title = [part.name, part.version].join(" ");
        let kind = part.kind.map_or("", |kind| kind.as_str());
        svg.push_str(&format!(
            "<g><title>{}: {size} {kind}</title><rect class=\"{} shade{}\" x=\"{x:.1}\" \
             y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            escape(title.trim()),
            part.class(),
            number % SHADES
        ));
        if let Some(label) = label([part.name, part.version, &size], width, height) {
            svg.push_str(&label.render(tile));
        }
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// Returns the text that fits into a tile: the name, then version and size as far as there is room
/// for them. `None` if the name has no room in any form.
fn label([name, version, size]: [&str; 3], width: f64, height: f64) -> Option<Label> {
    let fitting = |letters: f64, is_turned: bool| {
        let (across, down) = if is_turned {
            (height, width)
        } else {
            (width, height)
        };
        let in_line = count(letters * LETTER, across - 2.0 * MARGIN);
        let room = count(letters * LINE, down - MARGIN);
        let mut lines = broken(name, in_line).filter(|lines| lines.len() <= room)?;
        for more in [version, size] {
            if !more.is_empty() && more.chars().count() <= in_line && lines.len() < room {
                lines.push(more.to_owned());
            }
        }
        Some(Label {
            lines,
            letters,
            is_turned,
        })
    };
    let turned = (height > width).then_some(true);
    LETTERS.iter().find_map(|letters| {
        std::iter::once(false)
            .chain(turned)
            .find_map(|is_turned| fitting(*letters, is_turned))
    })
}

/// Returns the number of letters or lines that fit. The largest treemap has room for fewer than
/// 255.
fn count(size: f64, room: f64) -> usize {
    (1..=u8::MAX)
        .take_while(|count| f64::from(*count) * size <= room)
        .count()
}

/// Breaks a name into lines behind its separators. `None` if a piece is longer than a line.
fn broken(name: &str, letters: usize) -> Option<Vec<String>> {
    let mut lines = vec![String::new()];
    for piece in name.split_inclusive(['-', '_', '.', ' ']) {
        let len = |text: &str| text.chars().count();
        // A blank at the end of a line takes no room.
        if len(piece.trim_end()) > letters {
            return None;
        }
        match lines.last_mut() {
            Some(line) if len(line) + len(piece.trim_end()) <= letters => line.push_str(piece),
            _ => lines.push(piece.to_owned()),
        }
    }
    Some(lines)
}

impl Label {
    fn render(&self, tile: Tile) -> String {
        let mut text = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            let along = self.letters * (1.0 + LINE * number as f64) + MARGIN / 2.0;
            let (x, y) = if self.is_turned {
                (tile.x + tile.width - along, tile.y + MARGIN)
            } else {
                (tile.x + MARGIN, tile.y + along)
            };
            let turned = if self.is_turned {
                format!(" transform=\"rotate(90 {x:.1} {y:.1})\"")
            } else {
                String::new()
            };
            text.push_str(&format!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\"{turned}>{}</text>",
                self.letters,
                escape(line.trim_end())
            ));
        }
        text
    }
}

/// Lays parts out, the largest first. The parts are split into halves of nearly equal weight, which
/// are put beside or above each other, depending on the longer side.
fn lay_out(weights: &[u64], whole: Tile) -> Vec<Tile> {
    let total: u64 = weights.iter().sum();
    if weights.len() < 2 || total == 0 {
        return weights.iter().map(|_| whole).collect();
    }
    let mut first = 0;
    let mut at = 0;
    while at + 1 < weights.len() && (at == 0 || (first + weights[at]) * 2 <= total) {
        first += weights[at];
        at += 1;
    }
    let part = first as f64 / total as f64;
    let (mut one, mut other) = (whole, whole);
    if whole.width >= whole.height {
        one.width = whole.width * part;
        other.x += one.width;
        other.width -= one.width;
    } else {
        one.height = whole.height * part;
        other.y += one.height;
        other.height -= one.height;
    }
    let mut tiles = lay_out(&weights[..at], one);
    tiles.extend(lay_out(&weights[at..], other));
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(bytes: u64) -> Space {
        Space {
            files: 1,
            bytes,
            stored: bytes,
        }
    }

    #[test]
    fn many_packages_share_what_could_not_be_seen() {
        let names: Vec<String> = (0..300).map(|number| format!("package-{number}")).collect();
        let parts: Vec<Part> = names
            .iter()
            .zip(1u64..)
            .map(|(name, number)| Part::rest(name, space(200_000_000 / (number * number))))
            .collect();
        let (shown, rest) = with_rest(&parts);
        assert!(shown.len() < 60, "{}", shown.len());
        let total = |parts: &[Part]| parts.iter().map(|part| part.space.stored).sum::<u64>();
        assert_eq!(total(shown) + rest.stored, total(&parts));
        let picture = render(&parts);
        let last = format!("<title>{} more: ", 300 - shown.len());
        assert_eq!(picture.matches(&last).count(), WHOLES.len(), "{picture}");
        let (shown, rest) = with_rest(&[]);
        assert!(shown.is_empty() && rest == Space::default());
    }

    /// Names in the picture are whole (B18): "site-p…" says nothing.
    #[test]
    fn names_are_broken_or_left_out_but_never_cut() {
        let check = |name: &str, letters, expected: Option<&[&str]>| {
            let lines = broken(name, letters);
            let lines = lines.as_ref().map(|lines| {
                let lines = lines.iter().map(String::as_str);
                lines.collect::<Vec<_>>()
            });
            assert_eq!(lines.as_deref(), expected, "{name} {letters}");
        };
        check("numpy", 5, Some(&["numpy"]));
        check("numpy", 4, None);
        check(
            "a-name-that-is-long",
            7,
            Some(&["a-name-", "that-", "is-long"]),
        );
        check(
            "files of no package",
            8,
            Some(&["files of ", "no ", "package"]),
        );
        check("ürgelange", 9, Some(&["ürgelange"]));
        check("", 0, Some(&[""]));
        for (width, height, is_turned) in [
            (500.0, 300.0, Some(false)),
            (60.0, 50.0, Some(false)),
            (25.0, 120.0, Some(true)),
            (20.0, 20.0, None),
        ] {
            let label = label(["scikit-learn", "1.9.1", "12.00 MiB"], width, height);
            assert_eq!(label.as_ref().map(|label| label.is_turned), is_turned);
            if let Some(label) = label {
                assert!(
                    label.lines.concat().starts_with("scikit-learn"),
                    "{label:?}"
                );
            }
        }
    }

    #[test]
    fn tiles_have_the_sizes_of_their_parts_and_fill_the_whole() {
        let whole = Tile {
            x: 0.0,
            y: 0.0,
            width: 100.0,
            height: 60.0,
        };
        let weights = [400, 300, 100, 100, 50, 30, 20];
        let tiles = lay_out(&weights, whole);
        assert_eq!(tiles.len(), weights.len());
        for (weight, tile) in weights.iter().zip(&tiles) {
            let expected = 6000.0 * *weight as f64 / 1000.0;
            assert!(
                (tile.width * tile.height - expected).abs() < 1e-6,
                "{weight}: {tile:?}"
            );
            assert!(
                tile.x >= 0.0 && tile.x + tile.width <= 100.0 + 1e-9,
                "{tile:?}"
            );
            assert!(
                tile.y >= 0.0 && tile.y + tile.height <= 60.0 + 1e-9,
                "{tile:?}"
            );
        }
        for (number, one) in tiles.iter().enumerate() {
            for other in &tiles[number + 1..] {
                let apart = one.x + one.width <= other.x + 1e-9
                    || other.x + other.width <= one.x + 1e-9
                    || one.y + one.height <= other.y + 1e-9
                    || other.y + other.height <= one.y + 1e-9;
                assert!(apart, "{one:?} {other:?}");
            }
        }
        assert!(lay_out(&[], whole).is_empty());
        assert_eq!(lay_out(&[7], whole), [whole]);
    }
}
