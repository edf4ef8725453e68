//! Numbers on the command line, which all have a range.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Scales of guidance beyond which there is nothing but noise.
pub const MAX_SCALE: f64 = 1_000.0;

/// A parser of whole numbers in a range.
pub fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A parser of numbers in a range.
pub fn number(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
    }
}

/// A parser of numbers in a range whose start is left out.
pub fn number_above(start: f64, end: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|&number| number > start && number <= end);
        number.ok_or_else(|| format!("expected a number above {start} and at most {end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_no_number_is_told_the_range() {
        assert_eq!(whole(1..=9_u64)("9"), Ok(9));
        for text in ["0", "10", "-1", "1.5", "18446744073709551616", "many", ""] {
            assert_eq!(whole(1..=9_u64)(text), Err("expected a whole number from 1 to 9".to_owned()), "{text}");
        }
        assert_eq!(number(0.0..=1.0)("0"), Ok(0.0));
        for text in ["nan", "inf", "-inf", "1.01", "-0.1", "1e400", "half"] {
            assert_eq!(number(0.0..=1.0)(text), Err("expected a number from 0 to 1".to_owned()), "{text}");
        }
        assert_eq!(number_above(0.0, 1.0)("1"), Ok(1.0));
        for text in ["nan", "inf", "0", "-0", "1.01", "-1"] {
            assert_eq!(number_above(0.0, 1.0)(text), Err("expected a number above 0 and at most 1".to_owned()), "{text}");
        }
    }
}
