//! Sizes as the protocol writes them.

use crate::refusal::Refusal;

/// Width and height of `"WxH"`; `None` for `"auto"`, which leaves them to the model. Both are multiples of `step`.
///
/// # Errors
/// [`Refusal`] naming `size`, with the nearest sizes that there are.
pub(super) fn read_size(size: Option<&str>, step: usize) -> Result<Option<(usize, usize)>, Refusal> {
    let Some(text) = size.filter(|size| !size.eq_ignore_ascii_case("auto")) else { return Ok(None) };
    let sides = text.split_once(['x', 'X']).and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let (width, height) = sides.ok_or_else(|| Refusal::invalid("size", "expected WIDTHxHEIGHT in pixels, or auto"))?;
    if width.is_multiple_of(step) && height.is_multiple_of(step) {
        return Ok(Some((width, height)));
    }
    let below = |side: usize| (side / step * step).max(step);
    let above = |side: usize| side.next_multiple_of(step);
    let message = format!(
        "{width}x{height} cannot be drawn: both sides are multiples of {step} pixels; the nearest sizes are {}x{} and {}x{}",
        below(width),
        below(height),
        above(width),
        above(height)
    );
    Err(Refusal::invalid("size", message))
}

/// Pixels of a side, of which there are some, and no more than can be counted with.
fn side(text: &str) -> Option<usize> {
    const MOST: usize = 1 << 20;
    text.trim().parse().ok().filter(|side| (1..=MOST).contains(side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_left_to_the_model() {
        assert_eq!(read_size(Some("256x512"), 16), Ok(Some((256, 512))));
        assert_eq!(read_size(Some("1024X768"), 16), Ok(Some((1024, 768))));
        assert_eq!(read_size(Some("auto"), 16), Ok(None));
        assert_eq!(read_size(None, 16), Ok(None));
    }

    #[test]
    fn other_sizes_name_the_nearest_ones() {
        let refusal = read_size(Some("1000x8"), 16).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some("size"));
        assert!(refusal.message.ends_with("the nearest sizes are 992x16 and 1008x16"), "{refusal}");
        for size in ["", "big", "256", "x", "0x0", "-16x16", "16x99999999999999999999", "16x18446744073709551615", "16x16x16"] {
            assert_eq!(read_size(Some(size), 16).unwrap_err().field.as_deref(), Some("size"), "{size}");
        }
    }
}
