//! The jobs that live, as a process sees them that does not hold them itself.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diffusion_core::image::RgbImage;
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{PgPool, Row};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::desk::Desk;
use super::forecast::FleetWorker;
use super::notice::{JOBS, JobNotice, NEW, PROGRESS, PreviewNotice, ProgressNotice, STOPS, WATCHED};
use super::notify;
use super::processes::{self, KnownWorker, Process};
use super::rows::stored_job;
use super::upkeep::upkeep;
use crate::caches::Previews;
use crate::jobs::{LiveJob, Loaded, Preview, Queue, Speeds, Status, StoreError, StoredJob};
use crate::refusal::Causes;

/// Everything is compared so often, whatever was told.
const BETWEEN_COMPARISONS: Duration = Duration::from_secs(5);
/// As long as something changes, workers and their speeds are looked at so often.
const BETWEEN_WORKERS: Duration = Duration::from_secs(1);
/// What changes within this time is looked at together.
const TOGETHER: Duration = Duration::from_millis(10);
/// Others are told so often which jobs somebody watches.
const BETWEEN_WATCHED: Duration = Duration::from_secs(2);
/// A preview is made for so long after somebody was said to watch.
const WATCHED_FOR: Duration = Duration::from_secs(6);
/// A database that is gone is asked again after so long.
const RETRY: Duration = Duration::from_millis(500);
/// Names of jobs in a notice, which has at most 8,000 bytes.
const NAMES: usize = 200;

/// The jobs that live, as a process sees them that does not hold them itself: it listens, and compares now and then.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) pool: PgPool,
    pub(super) process: Process,
    pub(super) timeout: Duration,
    pub(super) queue: Arc<Queue>,
    pub(super) previews: Previews,
    /// The worker of this process, which is told of its job.
    pub(super) desk: Option<Arc<Desk>>,
    /// Whether anybody looks at jobs here; a mere worker mirrors none.
    pub(super) is_front: bool,
    pub(super) is_ready: Arc<AtomicBool>,
    /// Jobs that were asked for here.
    pub(super) own: Arc<super::Own>,
}

impl Mirror {
    /// Listen until the process ends. `looks` are jobs to be looked at again.
    pub(super) async fn run(self, mut looks: mpsc::UnboundedReceiver<Uuid>, ending: CancellationToken) {
        while !ending.is_cancelled() {
            tokio::select! {
                listened = self.listen(&mut looks) => {
                    self.is_ready.store(false, Ordering::Relaxed);
                    if let Err(error) = listened {
                        tracing::warn!(error = %Causes(&error), "the database does not answer; trying again");
                    }
                }
                () = ending.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = ending.cancelled() => return,
            }
        }
    }

    /// Listen until the database is gone.
    async fn listen(&self, looks: &mut mpsc::UnboundedReceiver<Uuid>) -> Result<(), StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.eager_reconnect(false);
        listener.listen(NEW).await?;
        if self.is_front {
            listener.listen_all([JOBS, PROGRESS]).await?;
        }
        if self.desk.is_some() {
            listener.listen_all([STOPS, WATCHED]).await?;
        }
        self.beat().await?;
        self.compare().await?;
        self.is_ready.store(true, Ordering::Relaxed);
        let mut comparisons = tokio::time::interval(BETWEEN_COMPARISONS);
        let mut beats = tokio::time::interval(self.timeout / 6);
        let mut watched = tokio::time::interval(BETWEEN_WATCHED);
        for interval in [&mut comparisons, &mut beats, &mut watched] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut changed = HashSet::new();
        let (mut look_at, mut seen_at) = (tokio::time::Instant::now(), Instant::now());
        loop {
            let was_empty = changed.is_empty();
            tokio::select! {
                notice = listener.try_recv() => match notice? {
                    Some(notice) => self.take_all(notice, &mut listener, &mut changed).await?,
                    // What was told while nobody listened is lost.
                    None => return Ok(()),
                },
                id = looks.recv() => match id {
                    Some(id) => drop(changed.insert(id)),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(look_at), if !changed.is_empty() => {
                    self.look(&changed.drain().collect::<Vec<_>>()).await?;
                    // What has ended may have been measured.
                    if self.is_front && seen_at.elapsed() > BETWEEN_WORKERS {
                        self.see_workers().await?;
                        seen_at = Instant::now();
                    }
                }
                _ = comparisons.tick() => self.compare().await?,
                _ = beats.tick() => self.beat().await?,
                _ = watched.tick() => self.tell_watched().await?,
            }
            if was_empty {
                look_at = tokio::time::Instant::now() + TOGETHER;
            }
        }
    }

    /// Say that this process is there, and do what one does for all.
    async fn beat(&self) -> Result<(), StoreError> {
        if self.is_front {
            self.process.beat_as_front(&self.pool).await?;
        }
        if let Some(desk) = &self.desk {
            desk.beat().await?;
        }
        upkeep(&self.pool, self.timeout).await
    }

    /// Take in a notice, and those that came with it. What has `changed` is looked at later, all at once.
    async fn take_all(
        &self,
        first: PgNotification,
        listener: &mut PgListener,
        changed: &mut HashSet<Uuid>,
    ) -> Result<(), StoreError> {
        let mut next = Some(first);
        while let Some(notice) = next {
            let text = notice.payload();
            // Others may use the database, too.
            let id = || serde_json::from_str(text).ok().map(|JobNotice { id }| id);
            match notice.channel() {
                PROGRESS => self.take_progress(text),
                WATCHED => self.take_watched(text),
                STOPS => self.take_stop(id()).await?,
                channel => {
                    changed.extend(id().filter(|_| self.is_front));
                    if let Some(desk) = self.desk.as_ref().filter(|_| channel == NEW) {
                        desk.wake.notify_one();
                    }
                }
            }
            next = listener.next_buffered();
        }
        Ok(())
    }

    /// The worker of this process may have to stop.
    async fn take_stop(&self, id: Option<Uuid>) -> Result<(), StoreError> {
        match &self.desk {
            Some(desk) if desk.current().is_some_and(|current| Some(current.job.id) == id) => desk.look_at_current().await,
            _ => Ok(()),
        }
    }

    fn take_progress(&self, text: &str) {
        let Ok(ProgressNotice { id, progress, preview }) = serde_json::from_str(text) else { return };
        let Some(job) = self.queue.find(&id).filter(|job| job.status() == Status::Running) else { return };
        if progress.is_some() {
            job.change(|state| state.progress = progress);
        }
        if let Some(preview) = preview.filter(|_| job.is_watched()) {
            let previews = self.previews.clone();
            tokio::spawn(async move { show_preview(&previews, &job, preview).await });
        }
    }

    fn take_watched(&self, text: &str) {
        let ids: Vec<Uuid> = serde_json::from_str(text).unwrap_or_default();
        if let Some(current) = self.desk.as_ref().and_then(|desk| desk.current())
            && ids.contains(&current.job.id)
        {
            current.watch_until(Instant::now() + WATCHED_FOR);
        }
    }

    /// Tell which running jobs somebody watches here.
    async fn tell_watched(&self) -> Result<(), StoreError> {
        let watched: Vec<Uuid> =
            self.queue.running().iter().filter(|job| job.is_watched()).map(|job| job.job.id).take(NAMES).collect();
        if !watched.is_empty() {
            notify(&self.pool, WATCHED, &watched).await?;
        }
        Ok(())
    }

    /// Compare all jobs that live with those that are mirrored, and see who draws.
    async fn compare(&self) -> Result<(), StoreError> {
        const SELECT: &str = "SELECT id, status, attempts FROM studio.jobs WHERE status IN ('queued', 'running')";
        if !self.is_front {
            return Ok(());
        }
        let rows = sqlx::query(SELECT).fetch_all(&self.pool).await?;
        let mut missing: HashSet<Uuid> = self.queue.ids().into_iter().collect();
        let mut changed = Vec::new();
        for row in rows {
            let id: Uuid = row.try_get("id")?;
            missing.remove(&id);
            let (status, attempts): (String, i32) = (row.try_get("status")?, row.try_get("attempts")?);
            let known = self.queue.find(&id).map(|job| job.state());
            if known.is_none_or(|known| known.status.name() != status || known.attempts != attempts as u32) {
                changed.push(id);
            }
        }
        changed.extend(missing);
        self.look(&changed).await?;
        self.see_workers().await
    }

    /// Take in what has become of jobs.
    async fn look(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query("SELECT * FROM studio.jobs WHERE id = ANY($1)").bind(ids).fetch_all(&self.pool).await?;
        let mut gone: HashSet<Uuid> = ids.iter().copied().collect();
        for row in &rows {
            let id: Uuid = row.try_get("id")?;
            gone.remove(&id);
            match stored_job(row) {
                Ok(stored) => self.take_in(stored),
                // Another version of the program wrote it; its own front ends show it.
                Err(error) => tracing::debug!(job = %id, error = %Causes(&error), "a job does not read"),
            }
        }
        for id in gone {
            self.queue.ended(&id);
        }
        Ok(())
    }

    /// Take in what has become of a job.
    fn take_in(&self, stored: StoredJob) {
        let (id, new) = (stored.job.id, stored.state.clone());
        let Some(known) = self.queue.find(&id) else {
            if !new.status.is_final() {
                let live = Arc::new(stored.live());
                self.queue.insert(&live);
                if new.status == Status::Running {
                    self.queue.begun(&live);
                }
            }
            return;
        };
        let old = known.state();
        match new.status {
            Status::Running if old.status != Status::Running => self.queue.begun(&known),
            Status::Queued if old.status == Status::Running => self.queue.hand_back(&known),
            status if status.is_final() => self.queue.ended(&id),
            _ => {}
        }
        let is_same_attempt = old.attempts == new.attempts && new.status == Status::Running;
        known.change(|state| {
            let (progress, preview) = (state.progress.take(), state.preview.take());
            *state = new;
            if is_same_attempt {
                (state.progress, state.preview) = (progress, preview);
            }
        });
        if known.status().is_final() && self.own.take(&id) {
            known.count_end();
        }
    }

    /// Who draws, what they have loaded, and how fast they are.
    async fn see_workers(&self) -> Result<(), StoreError> {
        let workers = processes::workers(&self.pool, self.timeout).await?;
        let speeds = processes::speeds(&self.pool).await?;
        metrics::gauge!("studio_workers").set(workers.len() as f64);
        let mean = Speeds::mean(speeds.values());
        let mut models: Vec<String> =
            workers.iter().flat_map(|worker| worker.told.needs()).map(|needs| needs.model.to_string()).collect();
        models.sort();
        models.dedup();
        self.queue.set_loaded(Loaded { models, ..Loaded::default() });
        let known = workers.into_iter().map(|worker| fleet_worker(worker, &speeds, &mean)).collect();
        self.queue.set_workers(known);
        self.queue.set_speeds(mean);
        Ok(())
    }
}

fn fleet_worker(worker: KnownWorker, speeds: &HashMap<String, Speeds>, mean: &Speeds) -> FleetWorker {
    // Where a worker never did something, it is taken to be as fast as the others.
    let speeds = speeds.get(&worker.name).map_or_else(|| mean.clone(), |own| own.clone().or(mean));
    FleetWorker { state: worker.told.state(&speeds), speeds }
}

/// Fetch a preview, and show it to those who watch.
async fn show_preview(previews: &Previews, job: &LiveJob, notice: PreviewNotice) {
    let fetched = previews.get(job.job.id).await.ok().flatten();
    let Some(picture) = fetched.and_then(|bytes| decode(&bytes)) else { return };
    let preview = Arc::new(Preview { step: notice.step, image: notice.image, picture });
    job.change(|state| {
        if state.status == Status::Running {
            state.preview = Some(preview);
        }
    });
}

/// Sides of the largest preview: an eighth of the largest image.
const MOST_SIDE: u32 = 4096;

fn decode(bytes: &[u8]) -> Option<RgbImage> {
    let mut reader = image::ImageReader::with_format(Cursor::new(bytes), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_SIDE), Some(MOST_SIDE));
    reader.limits(limits);
    let picture = reader.decode().ok()?.into_rgb8();
    Some(RgbImage { width: picture.width() as usize, height: picture.height() as usize, pixels: picture.into_raw() })
}
