//! Seeds from seeds, as numpy derives them.

/// Words of the pool that the entropy is mixed into: what torchsde asks numpy for.
const POOL_SIZE: usize = 24;

/// The first word of `numpy.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(n)`.
///
/// Reference: numpy 2.4 `numpy/random/bit_generator.pyx`; after M. E. O'Neill, "Developing a `seed_seq` alternative", 2015.
pub(super) fn first_word(entropy: u64, spawn_key: &[u64]) -> u32 {
    const START: u32 = 0x8b51_f9dd;
    const MULTIPLIER: u32 = 0x58f3_8ded;
    let mut words = words(entropy);
    if !spawn_key.is_empty() {
        words.resize(POOL_SIZE, 0);
    }
    words.extend(spawn_key.iter().flat_map(|&key| self::words(key)));

    let mut hash = Hash(0x43b0_d7e5);
    let mut pool: [u32; POOL_SIZE] = std::array::from_fn(|i| hash.of(words.get(i).copied().unwrap_or(0)));
    for source in 0..POOL_SIZE {
        for target in (0..POOL_SIZE).filter(|&target| target != source) {
            pool[target] = mix(pool[target], hash.of(pool[source]));
        }
    }
    for &word in words.iter().skip(POOL_SIZE) {
        for target in &mut pool {
            *target = mix(*target, hash.of(word));
        }
    }

    fold((pool[0] ^ START).wrapping_mul(START.wrapping_mul(MULTIPLIER)))
}

/// Little-endian words of a number, at least one.
fn words(number: u64) -> Vec<u32> {
    let (low, high) = (number as u32, (number >> 32) as u32);
    if high == 0 { vec![low] } else { vec![low, high] }
}

/// A hash whose constant changes with every word.
struct Hash(u32);

impl Hash {
    fn of(&mut self, word: u32) -> u32 {
        const MULTIPLIER: u32 = 0x931e_8875;
        let word = word ^ self.0;
        self.0 = self.0.wrapping_mul(MULTIPLIER);
        fold(word.wrapping_mul(self.0))
    }
}

fn mix(x: u32, y: u32) -> u32 {
    const LEFT: u32 = 0xca01_f9dd;
    const RIGHT: u32 = 0x4973_f715;
    fold(LEFT.wrapping_mul(x).wrapping_sub(RIGHT.wrapping_mul(y)))
}

fn fold(word: u32) -> u32 {
    word ^ (word >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SeedSequence(entropy, spawn_key=..., pool_size=24).generate_state(4)[0]` of numpy 2.4.6.
    #[test]
    fn words_are_numpys() {
        assert_eq!(first_word(0, &[]), 4_025_752_534);
        assert_eq!(first_word(42, &[]), 387_750_627);
        assert_eq!(first_word(42, &[5, 3]), 3_084_123_560);
        assert_eq!(first_word((1 << 40) + 3, &[1 << 23, 24]), 1_523_155_187);
    }
}
