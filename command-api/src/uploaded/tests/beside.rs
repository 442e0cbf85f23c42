//! Sweeps, attempts and makers of tracks beside each other: whatever the others do between two
//! steps of one, a track keeps its master, what can be used again has one, and all who are told of
//! an upload are told of the same.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use media::{
    ByteStream, ListedObject, LocalFile, ObjectHead, ObjectReader, Sha256Digest, StoredObject,
};

use super::*;

const UPLOAD: Uuid = Uuid::from_u128(7);

/// What others do, all at once.
type Deed = Box<dyn FnOnce(Arc<World>) -> BoxFuture<'static, ()> + Send>;

/// A storage in memory with the test's own clock, and the tracks that the store has.
struct World {
    state: Mutex<State>,
    itself: Weak<Self>,
}

struct State {
    now: DateTime<Utc>,
    /// Each with when it was put.
    objects: BTreeMap<ObjectKey, (Bytes, DateTime<Utc>)>,
    tracks: Vec<TrackId>,
    /// What tracks were made of.
    used: Vec<Master>,
    /// The masters that attempts were told to be the upload's.
    told: Vec<Master>,
    /// What happens after so many more steps of whoever is at work.
    between: Option<(usize, Deed)>,
}

/// How far a maker comes before its process is killed.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Keeps,
    Appends,
    Ends,
}

/// How far an attempt comes before its process is killed.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Begins,
    Stores,
    Claims,
    Ends,
}

/// Who comes in between.
#[derive(Clone, Copy, Debug)]
enum Other {
    Sweep,
    Maker(Maker),
    Sender(Sender, &'static str),
}

/// Notes of the upload as they were left, by their age in hours.
#[derive(Clone, Copy, Debug)]
struct Left {
    received: Option<i64>,
    making: &'static [(TrackId, i64)],
    /// The attempt that made it.
    attempt: Made,
}

/// How an upload was made.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// Not at all: nothing is there yet.
    Never,
    /// By a former version: the master's key is the upload's id.
    Formerly,
    /// By an attempt that was killed behind its claim, so many hours ago.
    Killed(i64),
}

impl World {
    async fn new(left: Left) -> Arc<Self> {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let state = State {
            now,
            objects: BTreeMap::new(),
            tracks: Vec::new(),
            used: Vec::new(),
            told: Vec::new(),
            between: None,
        };
        let state = Mutex::new(state);
        let world = Arc::new_cyclic(|itself| Self { state, itself: Weak::clone(itself) });
        if let Some(master) = world.made(left.attempt).await {
            world.leave(left, &master).await;
        }
        world
    }

    async fn made(&self, how: Made) -> Option<Master> {
        let key = match how {
            Made::Never => return None,
            Made::Formerly => master_key(NINA, UPLOAD),
            Made::Killed(age) => {
                self.advance(-age);
                let attempt = Attempt::begin(self, NINA, UPLOAD).await.unwrap();
                self.advance(age);
                attempt.master_key()
            }
        };
        Some(stored(self, &key, "left").await)
    }

    async fn leave(&self, left: Left, master: &Master) {
        for &(track, age) in left.making {
            self.advance(-age);
            keep(self, (NINA, UPLOAD), track, master, self.now()).await.unwrap();
            self.advance(age);
        }
        if let Some(age) = left.received {
            self.advance(-age);
            write(self, &received_key(NINA, UPLOAD), master).await.unwrap();
            self.advance(age);
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.state.lock().unwrap().now
    }

    fn advance(&self, hours: i64) {
        self.state.lock().unwrap().now += TimeDelta::hours(hours);
    }

    /// Something is about to be done; what is to be done before it is.
    async fn step(&self) {
        let deed = {
            let mut state = self.state.lock().unwrap();
            match state.between.take() {
                Some((0, deed)) => Some(deed),
                Some((steps, deed)) => {
                    state.between = Some((steps - 1, deed));
                    None
                }
                None => None,
            }
        };
        if let Some(deed) = deed {
            deed(self.itself.upgrade().unwrap()).await;
        }
    }

    async fn sweep(self: &Arc<Self>) {
        let world = Arc::clone(self);
        let is_made = move |track| {
            let world = Arc::clone(&world);
            Box::pin(async move {
                world.step().await;
                Ok(world.state.lock().unwrap().tracks.contains(&track))
            }) as BoxFuture<'static, _>
        };
        super::sweep(&**self, &is_made, self.now()).await.unwrap();
    }

    /// As the door for tracks does.
    async fn make(&self, maker: Maker) {
        let upload = (NINA, UPLOAD);
        let Some(master) = recall(self, NINA, UPLOAD, self.now()).await.unwrap() else {
            return;
        };
        let note = keep(self, upload, TRACK, &master, self.now()).await.unwrap();
        if matches!(maker, Maker::Keeps) {
            return;
        }
        self.step().await;
        {
            let mut state = self.state.lock().unwrap();
            state.tracks.push(TRACK);
            state.used.push(master.clone());
        }
        if matches!(maker, Maker::Ends) {
            made(self, upload, &note, &master).await.unwrap();
        }
    }

    /// As the door for uploads does.
    async fn send(&self, sender: Sender, text: &'static str) {
        if recall(self, NINA, UPLOAD, self.now()).await.unwrap().is_none()
            && is_spent(self, NINA, UPLOAD, self.now()).await.unwrap()
        {
            return;
        }
        let attempt = Attempt::begin(self, NINA, UPLOAD).await.unwrap();
        if matches!(sender, Sender::Begins) {
            return;
        }
        let master = stored(self, &attempt.master_key(), text).await;
        if matches!(sender, Sender::Stores) {
            return;
        }
        let claim = attempt.claim(self, &master, self.now()).await.unwrap();
        if matches!(sender, Sender::Claims) {
            return;
        }
        let told = match claim {
            Claim::Own => {
                attempt.forget(self).await.unwrap();
                self.told(master);
                return;
            }
            Claim::Other(first) => Some(first),
            Claim::Spent | Claim::Late => None,
        };
        attempt.give_up(self).await.unwrap();
        told.into_iter().for_each(|first| self.told(first));
    }

    fn told(&self, master: Master) {
        self.state.lock().unwrap().told.push(master);
    }

    async fn do_all(self: Arc<Self>, others: Vec<Other>) {
        for other in others {
            match other {
                Other::Sweep => self.sweep().await,
                Other::Maker(maker) => self.make(maker).await,
                Other::Sender(sender, text) => self.send(sender, text).await,
            }
        }
    }

    /// Lets the others come before the next step but so many, `hours` later.
    fn between(&self, steps: usize, others: Vec<Other>, hours: i64) {
        let deed: Deed = Box::new(move |world: Arc<Self>| {
            world.advance(hours);
            Box::pin(world.do_all(others))
        });
        self.state.lock().unwrap().between = Some((steps, deed));
    }

    /// Whether they have come.
    fn have_come(&self) -> bool {
        self.state.lock().unwrap().between.take().is_none()
    }

    /// What is promised, now and on each of the next days.
    async fn check(self: &Arc<Self>, case: &str) {
        let (used, told) = {
            let state = self.state.lock().unwrap();
            (state.used.clone(), state.told.clone())
        };
        for day in 0..4 {
            let found = recall(&**self, NINA, UPLOAD, self.now()).await.unwrap();
            if let Some(found) = &found {
                assert!(self.has(found), "day {day}: it can be used and is gone: {case}");
                assert!(told.iter().all(|told| told == found), "day {day}: {told:?} told: {case}");
            }
            for master in &used {
                assert!(self.has(master), "day {day}: the master of a track is gone: {case}");
                assert!(day == 0 || found.as_ref() == Some(master), "day {day}: {case}");
            }
            assert!(day > 0 || told.is_empty() || found.is_some(), "what was told of: {case}");
            self.advance(25);
            self.sweep().await;
        }
        let kept = read(&**self, &used_key(NINA, UPLOAD)).await.unwrap();
        let kept: Vec<_> = kept.into_iter().map(|master| master.object_key).collect();
        let masters = self.list(&folder("masters".to_owned()), None, 10).await.unwrap();
        let masters: Vec<_> = masters.iter().map(|it| it.key.as_str().to_owned()).collect();
        assert_eq!(kept, masters, "nobody comes for it: {case}");
        for name in [MAKING, RECEIVED, RECEIVING] {
            let left = self.list(&folder(name.to_owned()), None, 10).await.unwrap();
            assert!(left.is_empty(), "{left:?} is left: {case}");
        }
    }

    async fn insert(
        &self,
        key: &ObjectKey,
        body: ByteStream,
    ) -> Result<StoredObject, StorageError> {
        let parts: Vec<Bytes> = body.try_collect().await.map_err(StorageError::Body)?;
        let content = Bytes::from(parts.concat());
        let (size_bytes, sha256) = (content.len() as u64, Sha256Digest::from_bytes([0; 32]));
        let mut state = self.state.lock().unwrap();
        let now = state.now;
        state.objects.insert(key.clone(), (content, now));
        Ok(StoredObject { key: key.clone(), size_bytes, sha256 })
    }

    fn has(&self, master: &Master) -> bool {
        let key = ObjectKey::new(master.object_key.clone()).unwrap();
        self.state.lock().unwrap().objects.contains_key(&key)
    }

    fn found(&self, key: &ObjectKey) -> Result<(Bytes, DateTime<Utc>), StorageError> {
        let found = self.state.lock().unwrap().objects.get(key).cloned();
        found.ok_or_else(|| StorageError::NotFound { key: key.clone() })
    }
}

#[async_trait]
impl ObjectStorage for World {
    async fn put(&self, key: &ObjectKey, body: ByteStream) -> Result<StoredObject, StorageError> {
        self.step().await;
        self.insert(key, body).await
    }

    async fn create(
        &self,
        key: &ObjectKey,
        body: ByteStream,
    ) -> Result<Option<StoredObject>, StorageError> {
        self.step().await;
        if self.found(key).is_ok() {
            return Ok(None);
        }
        self.insert(key, body).await.map(Some)
    }

    async fn get(&self, key: &ObjectKey, _range: ByteRange) -> Result<ObjectReader, StorageError> {
        self.step().await;
        let (content, _) = self.found(key)?;
        let size_bytes = content.len() as u64;
        let body = Box::pin(stream::iter([Ok(content)]));
        Ok(ObjectReader { size_bytes, range: 0..size_bytes, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectHead, StorageError> {
        self.step().await;
        let (content, modified) = self.found(key)?;
        Ok(ObjectHead { size_bytes: content.len() as u64, modified })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.step().await;
        self.state.lock().unwrap().objects.remove(key);
        Ok(())
    }

    async fn list(
        &self,
        prefix: &KeyPrefix,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StorageError> {
        self.step().await;
        let state = self.state.lock().unwrap();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let listed = state.objects.range::<ObjectKey, _>((from, Bound::Unbounded));
        let below = listed.filter(|(key, _)| key.as_str().starts_with(prefix.as_str()));
        let listed = below.map(|(key, (content, _))| ListedObject {
            key: key.clone(),
            size_bytes: content.len() as u64,
        });
        Ok(listed.take(limit).collect())
    }

    async fn free_bytes(&self) -> Result<u64, StorageError> {
        Ok(u64::MAX)
    }

    async fn sweep(&self) -> Result<usize, StorageError> {
        Ok(0)
    }

    async fn local_file(&self, key: &ObjectKey) -> Result<LocalFile, StorageError> {
        Err(StorageError::NotFound { key: key.clone() })
    }
}

/// What may be left of an upload when sweeps, attempts and makers meet over it.
fn leftovers() -> Vec<Left> {
    let notes: [(_, &'static [(TrackId, i64)]); 8] = [
        (Some(2), &[]),
        (Some(30), &[]),
        (None, &[(TRACK, 30)]),
        (None, &[(OTHER, 30)]),
        (None, &[(OTHER, 30), (TRACK, 2)]),
        // A maker was killed before it had removed the first note.
        (Some(30), &[(TRACK, 30)]),
        (Some(25), &[(TRACK, 23)]),
        // It goes back while its attempt is looked up.
        (None, &[(OTHER, 23)]),
    ];
    let attempts = [Made::Formerly, Made::Killed(30)];
    let all = notes
        .into_iter()
        .flat_map(|(received, making)| attempts.map(|attempt| Left { received, making, attempt }));
    let nothing = Left { received: None, making: &[], attempt: Made::Never };
    all.chain([nothing]).collect()
}

/// Who may come in between.
fn others() -> Vec<Vec<Other>> {
    let makers = [Maker::Keeps, Maker::Appends, Maker::Ends].map(Other::Maker);
    let mut others = vec![vec![Other::Sweep]];
    for maker in makers {
        others.extend([vec![maker], vec![Other::Sweep, maker], vec![maker, Other::Sweep]]);
    }
    for sender in [Sender::Begins, Sender::Stores, Sender::Claims, Sender::Ends] {
        let other = Other::Sender(sender, "other");
        others.extend([vec![other], vec![other, Other::Sweep]]);
        others.extend(makers.map(|maker| vec![other, maker]));
    }
    others
}

/// Goes through all steps of one at work, with all others in between, and checks what comes of it.
async fn go_through(who: Other) {
    for left in leftovers() {
        for (others, hours) in others().into_iter().flat_map(|it| [(it.clone(), 0), (it, 2)]) {
            for steps in 0.. {
                let world = World::new(left).await;
                world.between(steps, others.clone(), hours);
                Arc::clone(&world).do_all(vec![who]).await;
                if !world.have_come() {
                    break;
                }
                let case = format!("{who:?} of {left:?}, {others:?} {hours} h later, at {steps}");
                world.check(&case).await;
            }
        }
    }
}

#[tokio::test]
async fn a_sweep_takes_no_master_whatever_others_do_between_its_steps() {
    go_through(Other::Sweep).await;
}

#[tokio::test]
async fn a_track_has_its_master_whatever_others_do_while_it_is_made() {
    for maker in [Maker::Keeps, Maker::Appends, Maker::Ends] {
        go_through(Other::Maker(maker)).await;
    }
}

#[tokio::test]
async fn all_are_told_of_the_same_upload_whatever_others_do_while_it_is_sent() {
    for sender in [Sender::Begins, Sender::Stores, Sender::Claims, Sender::Ends] {
        go_through(Other::Sender(sender, "sound")).await;
    }
}
