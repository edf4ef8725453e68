//! Damage to a file, from a seed.

/// A small generator of pseudorandom numbers. Failures are found again by their seed on every machine.
///
/// Reference: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014 (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 for an `end` of 0.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Where headers end, mostly: damage there tells more than in the numbers behind it.
const HEADER: usize = 4096;

/// Numbers at the edges of what fields hold, as text.
const NUMBERS: [&str; 17] = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "255",
    "65536",
    "4294967295",
    "9223372036854775807",
    "18446744073709551615",
    "1e400",
    "-0.0",
    "1e-45",
    "0.5",
    "null",
    "\"\"",
];

/// Bytes at the edges of what fields hold.
const BYTES: [&[u8]; 10] =
    [&[0], &[0xff], &[0x80], b"\"", b"}", b"[", &[0xff; 4], &[0xff, 0xff, 0xff, 0x7f], &[0xff; 8], &[0, 0, 0, 0, 0, 1, 0, 0]];

/// `sample` with one to four damages: bytes changed, numbers replaced, parts cut, repeated or moved, or the end missing.
pub fn mutated(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(4) {
        damage(&mut bytes, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let reach = if random.below(4) == 0 { bytes.len() } else { bytes.len().min(HEADER) };
    let place = random.below(reach);
    let length = 1 + random.below(16).min(bytes.len().saturating_sub(place + 1));
    match random.below(9) {
        0 | 1 => replace_a_number(bytes, place, random),
        2 | 3 => {
            let edge = random.one_of(&BYTES);
            let end = bytes.len().min(place + edge.len());
            bytes[place.min(end)..end].copy_from_slice(&edge[..end - place.min(end)]);
        }
        4 => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.below(8);
            }
        }
        5 => {
            let end = bytes.len().min(place + length);
            bytes.drain(place.min(end)..end);
        }
        6 => {
            let end = bytes.len().min(place + length);
            let part = bytes[place.min(end)..end].to_vec();
            let target = random.below(bytes.len());
            bytes.splice(target..target, part);
        }
        7 => {
            let edge = random.one_of(&BYTES);
            bytes.splice(place..place, edge.iter().copied());
        }
        _ => bytes.truncate(random.below(bytes.len() + 1)),
    }
}

/// The first number in decimal digits behind `place`, replaced by another.
fn replace_a_number(bytes: &mut Vec<u8>, place: usize, random: &mut Random) {
    let Some(start) = bytes[place..].iter().position(u8::is_ascii_digit).map(|offset| place + offset) else { return };
    let end = bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |offset| start + offset);
    bytes.splice(start..end, random.one_of(&NUMBERS).bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_damage_and_another_seed_another() {
        let sample: Vec<u8> = (0..=255).collect();
        let of_seed = |seed| mutated(&sample, &mut Random::new(seed));
        assert_eq!(of_seed(1), of_seed(1));
        assert!((2..10).all(|seed| of_seed(seed) != of_seed(1)));
    }

    #[test]
    fn samples_of_every_size_can_be_damaged() {
        for len in 0..40 {
            let sample = vec![b'7'; len];
            for seed in 0..500 {
                mutated(&sample, &mut Random::new(seed));
            }
        }
    }
}
