//! The random numbers: splitmix64, whose state after n numbers is known without drawing them.

/// The amount by which the state grows per number.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Random numbers that are the same everywhere and for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng(u64);

impl Rng {
    /// Starts at a seed, or goes on at a [state](Rng::state).
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    /// What to give to [`Rng::new`] to go on here.
    pub fn state(&self) -> u64 {
        self.0
    }
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.skip(1);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// As if `n` numbers had been drawn.
    pub fn skip(&mut self, n: u64) {
        self.0 = self.0.wrapping_add(STEP.wrapping_mul(n));
    }
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        // The high half of a 64 by 64 bit product is below `n`.
        ((u128::from(self.draw()) * u128::from(n)) >> 64) as u64
    }
    /// A number from 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// One of some texts.
    pub fn pick<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len() as u64) as usize]
    }
    /// `len` small letters; twelve per number drawn.
    pub fn word(&mut self, out: &mut Vec<u8>, len: usize) {
        let mut v = self.draw();
        for i in 0..len {
            if i % 12 == 11 {
                v = self.draw();
            }
            out.push(b'a' + (v % 26) as u8);
            v /= 26;
        }
    }
    /// As if a word of `len` letters had been written.
    pub fn skip_word(&mut self, len: usize) {
        self.skip(1 + len as u64 / 12);
    }
}
