//! Asking for jobs.

use std::sync::Arc;
use std::time::Duration;

use diffusion_app::digest::Digest;
use uuid::Uuid;

use crate::clock;
use crate::job_handle::{Attachment, JobHandle, Lifetime};
use crate::jobs::{Idempotency, Job, JobImage, JobState, LiveJob, Status};
use crate::refusal::{Refusal, RefusalKind};
use crate::request::{Drawing, JobRequest, Resolved};
use crate::security::Caller;
use crate::studio::{Studio, store_refusal};

/// How a job is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// How long the job lives.
    pub lifetime: Lifetime,
    /// A key by which the caller recognizes the request.
    pub idempotency_key: Option<&'a str>,
}

/// How long to wait where nobody can tell.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);
/// Longest key of a caller's.
const MAX_IDEMPOTENCY_KEY: usize = 255;

impl Studio {
    /// Ask for a job.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn submit(&self, request: JobRequest, submission: Submission<'_>) -> Result<JobHandle, Refusal> {
        let Submission { caller, lifetime, idempotency_key } = submission;
        if self.is_draining() {
            let message = "the server is ending; ask the next one";
            return Err(Refusal::new(RefusalKind::ShuttingDown, message).retry_after(Duration::from_secs(5)));
        }
        self.inner.rates.check(caller)?;
        let idempotency = idempotency_key.map(|key| idempotency(key, &request)).transpose()?;
        let Resolved { drawing, warnings } = self.resolve(request).await?;
        let key = self.picture_key(&drawing).await?;

        let submitting = self.inner.submitting.lock().await;
        // Who asks under a key means to ask again: the job goes on without its client.
        let lifetime = if idempotency.is_some() { Lifetime::Kept } else { lifetime };
        if let Some(idempotency) = &idempotency
            && let Some(found) = self.repeated(idempotency, caller).await?
        {
            return Ok(self.handle(found, lifetime, true));
        }
        let job = Job {
            id: Uuid::new_v4(),
            owner: caller.owner.clone(),
            user: caller.user.clone(),
            drawing,
            key,
            queued_at: clock::now(),
            is_attached: lifetime == Lifetime::Attached,
        };
        let place = self.queue().place_of_next(&job.user);
        if let Some(images) = self.cached_images(&job).await? {
            let mut state = JobState { cached: true, images, ..JobState::queued(warnings) };
            state.end(Status::Completed, None);
            self.store().insert(&job, place, &state, idempotency.as_ref()).await.map_err(store_refusal)?;
            metrics::counter!("studio_picture_cache_hits").increment(1);
            tracing::info!(job = %job.id, model = job.drawing.model, "answered from the cache");
            return Ok(self.handle(Arc::new(LiveJob::new(job, place, state)), lifetime, false));
        }
        self.check_room(caller)?;
        let state = JobState::queued(warnings);
        self.store().insert(&job, place, &state, idempotency.as_ref()).await.map_err(store_refusal)?;
        let live = Arc::new(LiveJob::new(job, place, state));
        self.queue().insert(&live);
        drop(submitting);
        tracing::info!(job = %live.job.id, model = live.job.drawing.model, "queued");
        Ok(self.handle(live, lifetime, false))
    }

    fn handle(&self, job: Arc<LiveJob>, lifetime: Lifetime, is_repeat: bool) -> JobHandle {
        let attachment =
            (lifetime == Lifetime::Attached && !is_repeat).then(|| Attachment { studio: self.clone(), job: job.clone() });
        JobHandle { studio: self.clone(), job, is_repeat, _attachment: attachment }
    }

    /// What tells the pixels and the file of a drawing from all others.
    async fn picture_key(&self, drawing: &Drawing) -> Result<String, Refusal> {
        let (studio, drawing) = (self.clone(), drawing.clone());
        self.blocking(move || studio.picture_key_of(&drawing).map_err(|error| Refusal::internal(&*error))).await?
    }

    fn picture_key_of(&self, drawing: &Drawing) -> Result<String, Box<dyn std::error::Error>> {
        let model = self.registry().model(&drawing.model).ok_or("the model is gone")?;
        let mut digest = Digest::default().with(&model.identity).with(serde_json::to_string(drawing)?);
        for lora in &drawing.loras {
            let entry = self.registry().loras.find(&lora.name).ok_or("the LoRA is gone")?;
            digest = digest.with(entry.digest()?);
        }
        Ok(digest.hex())
    }

    /// The job that the caller asked for before under this key.
    async fn repeated(&self, idempotency: &Idempotency, caller: &Caller) -> Result<Option<Arc<LiveJob>>, Refusal> {
        let found = self.store().find_by_key(&caller.owner, &idempotency.key).await.map_err(store_refusal)?;
        let Some(stored) = found else { return Ok(None) };
        if stored.request_digest.as_ref() != Some(&idempotency.request_digest) {
            let message = "another request was made with this Idempotency-Key; give each request its own";
            return Err(Refusal::new(RefusalKind::Conflict, message));
        }
        Ok(Some(self.queue().find(&stored.job.id).unwrap_or_else(|| Arc::new(stored.live()))))
    }

    /// The images of an equal job, if they are all there.
    async fn cached_images(&self, job: &Job) -> Result<Option<Vec<JobImage>>, Refusal> {
        let owner = if self.config().shares_cache { None } else { Some(job.owner.as_str()) };
        let found = self.store().find_by_picture(&job.key, owner).await.map_err(store_refusal)?;
        let images = found.map(|found| found.state.images);
        Ok(images.filter(|images| !images.is_empty() && images.iter().all(|image| self.pictures().contains(&image.file))))
    }

    fn check_room(&self, caller: &Caller) -> Result<(), Refusal> {
        let config = self.config();
        let problem = if self.queue().len() >= config.max_queue {
            format!("{} jobs wait, and no more are taken; try again later", config.max_queue)
        } else if self.queue().len_of(&caller.user) >= config.max_queue_per_user {
            format!("{} jobs of yours wait, and no more are taken; try again later", config.max_queue_per_user)
        } else {
            return Ok(());
        };
        metrics::counter!("studio_jobs_refused").increment(1);
        let wait = self.queue().forecast().all().map_or(UNKNOWN_WAIT, Duration::from_secs_f64);
        Err(Refusal::new(RefusalKind::QueueFull, problem).retry_after(wait))
    }
}

fn idempotency(key: &str, request: &JobRequest) -> Result<Idempotency, Refusal> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let message = format!("an Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} bytes");
        return Err(Refusal::new(RefusalKind::Malformed, message));
    }
    let request = serde_json::to_string(request).map_err(|error| Refusal::internal(&error))?;
    Ok(Idempotency { key: key.to_owned(), request_digest: Digest::default().with(request).hex() })
}
