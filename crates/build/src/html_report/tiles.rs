//! Responsible for a treemap: a rectangle for each part, whose area is the part's size.

use indicatif::HumanBytes;

use super::escape;

/// Rectangle of a part, in the units of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tile {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Width and height of the whole in its own units, for wide windows and for narrow ones. The style
/// sheet decides which of them is shown.
const WHOLES: [(&str, f64, f64); 2] = [("wide", 1200.0, 520.0), ("tall", 400.0, 640.0)];
/// Maximum number of parts with a tile of their own. The other parts share one tile.
const TILES_MAX: usize = 80;
/// Smallest share of the whole that has a tile of its own. A smaller tile could not be seen.
const PART_MIN: f64 = 1.0 / 3000.0;
/// Distance from a tile's edges to its text.
const MARGIN: f64 = 4.0;
/// Height of a line of text.
const LINE: f64 = 13.0;
/// Width of a letter, a little more than that of most letters.
const LETTER: f64 = 6.6;
/// Smallest number of letters of a name that is shown. Fewer letters are no use.
const LETTERS_MIN: usize = 4;

/// Draws parts. The largest comes first.
pub(super) fn render(sizes: &[(String, u64)]) -> String {
    let parts = with_rest(sizes);
    let pictures = WHOLES.map(|(class, width, height)| render_one(&parts, class, width, height));
    pictures.concat()
}

/// Returns the parts that can be seen, and one part for all others.
fn with_rest(sizes: &[(String, u64)]) -> Vec<(String, u64)> {
    let total: u64 = sizes.iter().map(|(_, size)| size).sum();
    let large = sizes
        .iter()
        .take(TILES_MAX)
        .take_while(|(_, size)| *size as f64 >= total as f64 * PART_MIN);
    let (shown, rest) = sizes.split_at(large.count());
    let of_rest: u64 = rest.iter().map(|(_, size)| size).sum();
    let mut parts = shown.to_vec();
    if of_rest > 0 {
        parts.push((format!("{} more", rest.len()), of_rest));
    }
    parts
}

fn render_one(parts: &[(String, u64)], class: &str, width: f64, height: f64) -> String {
    let whole = Tile {
        x: 0.0,
        y: 0.0,
        width,
        height,
    };
    let weights: Vec<u64> = parts.iter().map(|(_, size)| *size).collect();
    let mut svg = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"sizes by package\">\n"
    );
    for (number, ((name, size), tile)) in parts.iter().zip(lay_out(&weights, whole)).enumerate() {
        let Tile {
            x,
            y,
            width,
            height,
        } = tile;
        let size = HumanBytes(*size).to_string();
        // Neighbours in the list are neighbours in the picture; the golden angle keeps their
        // colours apart.
        let hue = number * 137 % 360;
        svg.push_str(&format!(
            "<g><title>{}: {size}</title><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\" style=\"--hue:{hue}\"/>",
            escape(name)
        ));
        // A part of a number would be misleading.
        let of_size = shortened(&size, width).filter(|text| *text == size);
        let lines = [shortened(name, width), of_size];
        let room = fitting(LINE, height - MARGIN);
        for (number, text) in lines.into_iter().flatten().take(room).enumerate() {
            svg.push_str(&format!(
                "<text x=\"{:.2}\" y=\"{:.2}\">{}</text>",
                x + MARGIN,
                y + LINE * (number + 1) as f64,
                escape(&text)
            ));
        }
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// Returns the number of letters or lines that fit. The largest treemap has room for fewer than
/// 255.
fn fitting(size: f64, room: f64) -> usize {
    (1..=u8::MAX)
        .take_while(|count| f64::from(*count) * size <= room)
        .count()
}

/// Returns the start of a text that fits, or `None` if that is too short to be useful.
fn shortened(text: &str, width: f64) -> Option<String> {
    let letters = fitting(LETTER, width - 2.0 * MARGIN);
    if text.chars().count() <= letters {
        return Some(text.to_owned());
    }
    (letters > LETTERS_MIN).then(|| text.chars().take(letters - 1).collect::<String>() + "…")
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

    #[test]
    fn many_packages_share_what_could_not_be_seen() {
        let sizes: Vec<(String, u64)> = (0..300u64)
            .map(|number| {
                (
                    format!("package-{number}"),
                    200_000_000 / (1 + number * number),
                )
            })
            .collect();
        let parts = with_rest(&sizes);
        assert!(parts.len() < 60, "{}", parts.len());
        let total = |parts: &[(String, u64)]| parts.iter().map(|(_, size)| size).sum::<u64>();
        assert_eq!(total(&parts), total(&sizes));
        let (last, _) = parts.last().expect("there are some");
        assert_eq!(*last, format!("{} more", 301 - parts.len()));
        assert!(with_rest(&[]).is_empty());
    }

    #[test]
    fn names_are_shortened_to_their_room() {
        for (text, width, expected) in [
            ("numpy", 60.0, Some("numpy")),
            ("a-name-that-is-long", 60.0, Some("a-name…")),
            ("ürgelange", 50.0, Some("ürgel…")),
            ("numpy", 30.0, None),
            ("", 0.0, Some("")),
        ] {
            assert_eq!(
                shortened(text, width).as_deref(),
                expected,
                "{text} {width}"
            );
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
