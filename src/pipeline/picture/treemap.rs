//! Responsible for a treemap: a rectangle for each part, as large as the part is.

/// A part's place, in the units of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tile {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Lays parts out, largest first: halves of nearly equal weight beside or above each other, by which side is longer.
pub(super) fn lay_out(weights: &[u64], whole: Tile) -> Vec<Tile> {
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
