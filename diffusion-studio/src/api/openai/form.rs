//! Forms with pictures in them.

use axum::extract::Multipart;
use axum::extract::multipart::{MultipartError, MultipartRejection};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::foreign::fields::Fields;
use crate::refusal::{Refusal, RefusalKind};

/// A form with pictures in it.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// All that is text.
    pub(super) fields: Fields,
    /// Pictures, in their order.
    pub(super) images: Vec<Vec<u8>>,
    /// What is redrawn of the first one.
    pub(super) mask: Option<Vec<u8>>,
}

/// A form, or why there is none.
pub(super) type SentForm = Result<Multipart, MultipartRejection>;

impl Form {
    /// Read all of a form.
    ///
    /// # Errors
    /// [`Refusal`] if it is none, is too large, or breaks off.
    pub(super) async fn read(form: SentForm) -> Result<Self, Refusal> {
        let mut parts = form.map_err(|rejection| Refusal::new(RefusalKind::Malformed, rejection.body_text()))?;
        let mut form = Self::default();
        while let Some(part) = parts.next_field().await.map_err(refused)? {
            let name = part.name().unwrap_or_default().to_owned();
            match name.as_str() {
                "image" | "image[]" => form.images.push(part.bytes().await.map_err(refused)?.to_vec()),
                "mask" => form.mask = Some(part.bytes().await.map_err(refused)?.to_vec()),
                // What else comes as a file has no meaning here.
                _ if part.file_name().is_some() => {}
                _ => {
                    let text = part.text().await.map_err(refused)?;
                    form.fields.set(&name, text.into());
                }
            }
        }
        Ok(form)
    }

    /// The picture that is changed, in base64.
    ///
    /// # Errors
    /// [`Refusal`] naming `image` if there is none, or more than one.
    pub(super) fn image(&self) -> Result<String, Refusal> {
        match self.images.as_slice() {
            [image] => Ok(STANDARD.encode(image)),
            [] => Err(Refusal::invalid("image", "an image is needed")),
            _ => Err(Refusal::invalid("image", "the models here take one image")),
        }
    }
}

fn refused(error: MultipartError) -> Refusal {
    let is_too_large = error.status() == RefusalKind::TooLarge.status();
    Refusal::new(if is_too_large { RefusalKind::TooLarge } else { RefusalKind::Malformed }, error.body_text())
}
