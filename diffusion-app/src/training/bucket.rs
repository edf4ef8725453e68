//! Sizes of pictures that go through a network together.

use std::fmt::{self, Display};

use diffusion_core::SettingError;
use diffusion_models::ImageGeometry;

/// Width and height in pixels that pictures are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl Bucket {
    /// Whether a picture of this size need not be enlarged.
    pub(super) fn fits_into(self, width: usize, height: usize) -> bool {
        self.width <= width && self.height <= height
    }

    /// How far apart two aspects are: the logarithm of their quotient, without sign.
    pub(super) fn distance(self, width: usize, height: usize) -> f64 {
        let own = self.width as f64 / self.height as f64;
        (own / (width as f64 / height as f64)).ln().abs()
    }
}

impl Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.width, self.height)
    }
}

/// Which buckets there are, at one or several resolutions.
///
/// A resolution of `r` has the buckets whose sides are multiples of the step, from half of `r` to twice `r`, and whose area is as
/// near to `r²` as it can be without being larger. A picture goes into one bucket of every resolution that it reaches: the one
/// nearest to its aspect among those for which it need not be enlarged. A picture that reaches no resolution goes into the bucket
/// of its own size, rounded down to steps; one that is then shorter than half of the lowest resolution on a side is too small.
///
/// ```
/// use diffusion_app::training::{Bucket, Buckets};
/// use diffusion_models::ImageGeometry;
///
/// let geometry = ImageGeometry { latent_channels: 16, downscale_factor: 8, patch_size: 2, max_side: None };
/// let buckets = Buckets::new(&[512, 768], 64, &geometry)?;
/// let sizes = [Bucket { width: 640, height: 384 }, Bucket { width: 960, height: 576 }];
/// assert_eq!(buckets.of(1600, 1000), sizes);
/// assert_eq!(buckets.of(700, 430), sizes[..1]);
/// assert_eq!(buckets.of(450, 300), [Bucket { width: 448, height: 256 }]);
/// assert!(buckets.of(450, 200).is_empty());
/// # Ok::<(), diffusion_core::SettingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// Rising.
    resolutions: Vec<usize>,
    step: usize,
    max_side: usize,
}

/// The highest resolution: no picture that is read has longer sides.
const MAX_RESOLUTION: usize = 8192;

impl Buckets {
    /// Buckets that usually suit: sides are multiples of 64 pixels.
    pub const DEFAULT_STEP: usize = 64;

    /// The buckets of these resolutions, in pixels, for a model of this geometry.
    ///
    /// # Errors
    /// [`SettingError`] if there is no resolution, one is shorter than a step or longer than the model draws, or the step is no
    /// multiple of the model's.
    pub fn new(resolutions: &[usize], step: usize, geometry: &ImageGeometry) -> Result<Self, SettingError> {
        let side_step = geometry.side_step();
        let max_side = geometry.max_side.unwrap_or(usize::MAX);
        let most = MAX_RESOLUTION.min(max_side);
        if step == 0 || !step.is_multiple_of(side_step) || step > most {
            return Err(SettingError::new("step of the buckets", format!("a multiple of {side_step}, at most {most}"), step));
        }
        if resolutions.is_empty() {
            return Err(SettingError::new("number of resolutions", "at least 1", 0));
        }
        if let Some(resolution) = resolutions.iter().find(|resolution| !(step..=most).contains(*resolution)) {
            return Err(SettingError::new("resolution", format!("{step} to {most} pixels"), resolution));
        }
        let mut resolutions = resolutions.to_vec();
        resolutions.sort_unstable();
        resolutions.dedup();
        Ok(Self { resolutions, step, max_side })
    }

    /// The resolutions, rising, in pixels.
    pub fn resolutions(&self) -> &[usize] {
        &self.resolutions
    }

    /// Sides are multiples of so many pixels.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The shortest side of a picture that is not too small, in pixels.
    pub fn least_side(&self) -> usize {
        self.shortest_side(self.resolutions[0])
    }

    /// The buckets of a picture of this size, in pixels; none if it is too small.
    pub fn of(&self, width: usize, height: usize) -> Vec<Bucket> {
        let mut buckets: Vec<_> =
            self.resolutions.iter().filter_map(|&resolution| self.nearest(resolution, width, height)).collect();
        if buckets.is_empty() {
            buckets.extend(self.own(width, height));
        }
        buckets.sort_unstable();
        buckets.dedup();
        buckets
    }

    /// Whether a picture of this size reaches the lowest resolution.
    pub(super) fn is_reached_by(&self, width: usize, height: usize) -> bool {
        self.nearest(self.resolutions[0], width, height).is_some()
    }

    /// The bucket of a resolution that is nearest to an aspect; `None` if all would enlarge the picture.
    fn nearest(&self, resolution: usize, width: usize, height: usize) -> Option<Bucket> {
        let fitting = self.at(resolution).filter(|bucket| bucket.fits_into(width, height));
        fitting.min_by(|first, second| {
            let by_aspect = first.distance(width, height).total_cmp(&second.distance(width, height));
            by_aspect.then_with(|| (second.width * second.height).cmp(&(first.width * first.height)))
        })
    }

    /// The buckets of a resolution, from the narrowest to the widest.
    fn at(&self, resolution: usize) -> impl Iterator<Item = Bucket> {
        let (shortest, longest) = (self.shortest_side(resolution), (2 * resolution).min(self.max_side));
        let widths = (shortest..=longest).step_by(self.step);
        let tallest = move |width: usize| (resolution * resolution / width).min(longest) / self.step * self.step;
        widths.map(move |width| Bucket { width, height: tallest(width) }).filter(move |bucket| bucket.height >= shortest)
    }

    /// The bucket of a picture's own size.
    fn own(&self, width: usize, height: usize) -> Option<Bucket> {
        let longest = (2 * self.resolutions[0]).min(self.max_side);
        let [width, height] = [width, height].map(|side| side.min(longest) / self.step * self.step);
        (width.min(height) >= self.least_side()).then_some(Bucket { width, height })
    }

    /// Half of a resolution, rounded up to steps.
    fn shortest_side(&self, resolution: usize) -> usize {
        resolution.div_ceil(2).next_multiple_of(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: ImageGeometry = ImageGeometry { latent_channels: 16, downscale_factor: 8, patch_size: 2, max_side: None };

    fn sizes(resolutions: &[usize], step: usize, picture: (usize, usize)) -> Vec<(usize, usize)> {
        let buckets = Buckets::new(resolutions, step, &GEOMETRY).unwrap();
        buckets.of(picture.0, picture.1).iter().map(|bucket| (bucket.width, bucket.height)).collect()
    }

    #[test]
    fn pictures_go_into_the_nearest_bucket_of_every_resolution_that_they_reach() {
        let all = [512, 768, 1024];
        for (picture, expected) in [
            ((4000, 4000), vec![(512, 512), (768, 768), (1024, 1024)]),
            ((1024, 1024), vec![(512, 512), (768, 768), (1024, 1024)]),
            ((1023, 1024), vec![(512, 512), (768, 768)]),
            ((512, 512), vec![(512, 512)]),
            // 16 : 9 and 2 : 3, as cameras and telephones have them.
            ((1920, 1080), vec![(640, 384), (1024, 576), (1344, 768)]),
            ((1080, 1920), vec![(384, 640), (576, 1024), (768, 1344)]),
            ((2000, 3000), vec![(384, 640), (640, 896), (832, 1216)]),
            // Longer than four to one.
            ((9000, 1000), vec![(1024, 256), (1536, 384), (2048, 512)]),
            // Of the area of the resolution, but not of its sides.
            ((530, 500), vec![(512, 448)]),
            // Smaller than the lowest.
            ((511, 511), vec![(448, 448)]),
            ((256, 300), vec![(256, 256)]),
            ((320, 900), vec![(320, 768)]),
            ((300, 700), vec![(256, 640)]),
            ((255, 4000), vec![]),
            ((0, 9), vec![]),
        ] {
            assert_eq!(sizes(&all, 64, picture), expected, "{picture:?}");
        }
        assert_eq!(sizes(&[128], 64, (128, 128)), [(128, 128)]);
        assert_eq!(sizes(&[128], 64, (200, 100)), [(192, 64)]);
        assert_eq!(sizes(&[768, 512, 512], 32, (700, 700)), [(512, 512)]);
    }

    #[test]
    fn no_picture_is_enlarged_and_no_bucket_is_larger_than_its_resolution() {
        let buckets = Buckets::new(&[512, 1024], 64, &GEOMETRY).unwrap();
        for width in (1..2600).step_by(37) {
            for height in (1..2600).step_by(41) {
                let found = buckets.of(width, height);
                assert_eq!(found.is_empty(), width.min(height) < 256, "{width} x {height}");
                assert!(found.is_sorted() && found.len() <= 2);
                for bucket in found {
                    assert!(bucket.width <= width && bucket.height <= height, "{width} x {height}: {bucket}");
                    assert!(bucket.width.is_multiple_of(64) && bucket.height.is_multiple_of(64) && bucket.width >= 256);
                    assert!(bucket.width * bucket.height <= 1024 * 1024);
                    let whole_area = bucket.width * bucket.height > 512 * 512 - 64 * 1024;
                    assert!(whole_area || !buckets.is_reached_by(width, height), "{width} x {height}: {bucket}");
                }
            }
        }
    }

    #[test]
    fn sides_end_where_the_model_does() {
        let geometry = ImageGeometry { max_side: Some(256), ..GEOMETRY };
        let buckets = Buckets::new(&[192], 64, &geometry).unwrap();
        assert_eq!(buckets.of(4000, 1000), [Bucket { width: 256, height: 128 }]);
        assert_eq!(buckets.least_side(), 128);
    }

    #[test]
    fn settings_that_fit_no_model_are_refused() {
        let refused = |resolutions: &[usize], step, words: &str| {
            let geometry = ImageGeometry { max_side: Some(1440), ..GEOMETRY };
            let error = Buckets::new(resolutions, step, &geometry).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(&[512], 24, "step of the buckets is 24, expected a multiple of 16");
        refused(&[512], 0, "step of the buckets is 0");
        refused(&[], 64, "number of resolutions is 0");
        refused(&[512, 1536], 64, "resolution is 1536, expected 64 to 1440");
        refused(&[63], 64, "resolution is 63");
    }
}
