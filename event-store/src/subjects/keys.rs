//! The store of keys: one a subject, in a folder apart from the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moka::sync::Cache;
use thiserror::Error;

use super::bucket::{Bucket, Place, Slots};
use super::durable::DurableSlots;
use super::field::SubjectKey;
use super::generation::Generation;
use super::slot::{self, Slot};
use super::store_key::{self, StoreKey};
use super::subject::Subject;
use super::turn::{Turn, Turns};
use crate::encryption::{Cipher, KeyBytes, WrappingKeys, random};
use crate::error::StoreError;
use crate::limits::SUBJECT_CACHE_ENTRIES_MAX;
use crate::log::{Disk, Entropy, FileStamp, Folder, KeyError, SystemEntropy, make_folder};

/// The mode of the folder.
const OWNER_ALONE: u32 = 0o700;

/// Where the keys of subjects are, and what wraps them.
#[derive(Clone)]
pub struct SubjectKeysOptions {
    pub(super) place: Where,
    pub(super) keys: Option<Arc<WrappingKeys>>,
    wraps: bool,
    entropy: Arc<dyn Entropy>,
}

#[derive(Clone)]
pub(super) enum Where {
    Folder(PathBuf),
    Disk(Arc<dyn Disk>),
}

/// Why the keys of subjects can't be had. Each is one line that an operator can act on.
#[derive(Debug, Error)]
pub enum SubjectKeysError {
    /// The folder can't be made.
    #[error("can't use the folder {}", path.display())]
    Folder {
        /// Which folder.
        path: Box<Path>,
        /// What the operating system says.
        source: io::Error,
    },
    /// There are keys, and the one that wraps them is not there.
    #[error(
        "the file {} is missing, without which no key of a subject is opened: put a backup \
             of it back",
        store_key::FILE
    )]
    Lost,
    /// The one that wraps them is not as it was written.
    #[error(
        "the file {} is damaged, without which no key of a subject is opened: put a backup of it \
         back ({reason})",
        store_key::FILE
    )]
    Damaged {
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// That key is wrapped, and nothing was given to unwrap it with.
    #[error("{} is wrapped by the key {by}, and no key was given to open it with", store_key::FILE)]
    Wrapped {
        /// The name of the key that wraps it.
        by: Box<str>,
    },
    /// That key can't be opened, or the disk fails.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<io::Error> for SubjectKeysError {
    fn from(error: io::Error) -> Self {
        Self::Key(error.into())
    }
}

/// One 256-bit key a subject, each made when it is first asked for, and gone for good once its
/// subject is forgotten. Clones are the same store.
///
/// Any number of processes of one machine may have the folder open. Durable before it is used:
/// nothing is sealed with a key that a power cut could take. A key costs one sync, and a sync of
/// the folder where its file is new; looking one up that is not in memory reads one file of 128
/// bytes for each 4096 subjects.
///
/// The folder may be taken away, exchanged or changed by others while it is open. Before anything
/// is sealed, the key that is remembered is compared with the files, by their stamps: what no
/// restart could open is never sealed. In another folder than the one that was opened nothing is
/// written; what was remembered of the first does not hold then, and is read from the files.
#[derive(Clone)]
pub struct SubjectKeys(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    turns: Turns,
    generation: Generation,
    store_key: KeyBytes,
    cipher: Cipher,
    durable: DurableSlots,
    cache: Cache<Subject, Remembered>,
}

/// What is known of a subject.
#[derive(Clone)]
pub(crate) enum Known {
    /// They have this key.
    Live(Arc<SubjectKey>),
    /// They are forgotten.
    Forgotten,
    /// Nothing: no key was made for them here.
    Nothing,
}

#[derive(Clone)]
struct Remembered {
    known: Known,
    generation: u64,
    /// Where it was durable; none where that is not known.
    durable: Option<Files>,
}

/// The files that it takes to open what is sealed for a subject. As long as their stamps are the
/// same, whoever starts anew has the key that was found in them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files {
    bucket: Option<FileStamp>,
    store_key: Option<FileStamp>,
}

/// What is to become of who has no key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keyless {
    Told,
    Given,
}

impl SubjectKeysOptions {
    /// Keys in this folder, which is made where it is missing.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::at(Where::Folder(path.into()))
    }

    /// Keys on this disk, which nobody else has.
    pub fn disk(disk: Arc<dyn Disk>) -> Self {
        Self::at(Where::Disk(disk))
    }

    fn at(place: Where) -> Self {
        Self { place, keys: None, wraps: false, entropy: Arc::new(SystemEntropy) }
    }

    /// The same, with other keys and nonces: for tests that are to be repeated.
    #[must_use]
    pub fn entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, ..self }
    }

    /// The same, wrapped by the first of these, durable; also what is wrapped by none, or by
    /// another of them, which is needed no more then. Who has the folder open already need not
    /// know.
    #[must_use]
    pub fn encryption(self, keys: WrappingKeys) -> Self {
        Self { keys: Some(Arc::new(keys)), wraps: true, ..self }
    }

    /// The same, opened with these where they are wrapped, and left as they are.
    #[must_use]
    pub fn decryption(self, keys: WrappingKeys) -> Self {
        Self { keys: Some(Arc::new(keys)), wraps: false, ..self }
    }
}

impl SubjectKeys {
    /// Opens the keys; in a folder without any, a new store of them.
    ///
    /// # Errors
    /// When the folder can't be used, or the key that wraps the others is missing or can't be
    /// opened.
    pub fn open(options: SubjectKeysOptions) -> Result<Self, SubjectKeysError> {
        let (disk, folder): (Arc<dyn Disk>, _) = match options.place {
            Where::Disk(disk) => (disk, None),
            Where::Folder(path) => {
                make_folder(&path, OWNER_ALONE)
                    .map_err(|source| SubjectKeysError::Folder { path: (&*path).into(), source })?;
                (Arc::new(Folder::new(&path)), Some(path))
            }
        };
        let turns = Turns::new(folder);
        let (generation, store_key) = {
            let _turn = turns.wait()?;
            let keys = options.keys.as_deref();
            let wrapping = keys.filter(|_| options.wraps);
            (Generation::open(&*disk)?, opened(&*disk, keys, wrapping, &*options.entropy)?)
        };
        Ok(Self(Arc::new(Inner {
            disk,
            entropy: options.entropy,
            turns,
            generation,
            cipher: Cipher::new(&store_key),
            store_key,
            durable: DurableSlots::none(),
            cache: Cache::new(SUBJECT_CACHE_ENTRIES_MAX),
        })))
    }

    /// Whether there is a store of keys in this folder.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(store_key::FILE).exists()
    }

    /// That the folder is there, is the one that was opened, and has the key that wraps the others.
    ///
    /// # Errors
    /// When it is not, so that nothing can be sealed.
    pub fn are_in_place(&self) -> Result<(), StoreError> {
        self.0.is_folder_in_place()?;
        self.0.store_key_in_place().map(drop)
    }

    /// Forgets the subject: their key is overwritten where it is and gone, and no other is ever
    /// made for them. It is durable when this returns, and felt by every process at once. Who is
    /// forgotten already, or never had a key, is forgotten alike.
    ///
    /// After an error, or when the process dies, it may be done or not; then it is to be repeated.
    ///
    /// # Errors
    /// When the disk fails, or the folder is not the one that was opened. And when a slot is
    /// damaged so that their key may be in it and can't be told: what was sealed for them is opened
    /// no more then, but who has the disk may find the key.
    pub async fn forget(&self, subject: Subject) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.forget(subject)).await
    }

    /// All who are forgotten: what is to be forgotten again where an older copy of the keys was put
    /// back.
    ///
    /// # Errors
    /// When the disk fails, or a slot is damaged: then nothing is told, as somebody could be left
    /// out.
    pub async fn forgotten(&self) -> Result<Vec<Subject>, StoreError> {
        self.blocking(Inner::forgotten).await
    }

    /// What is known of the subject, to open what was sealed for them.
    pub(crate) async fn known(&self, subject: Subject) -> Result<Known, StoreError> {
        if let Some(remembered) = self.0.remembered(subject)? {
            return Ok(remembered.known);
        }
        self.blocking(move |inner| inner.look_up(subject)).await
    }

    /// The same to seal for the subject: the key is durable, and in the files as they are now.
    pub(crate) async fn to_seal(&self, subject: Subject) -> Result<Known, StoreError> {
        let remembered = self.0.remembered(subject)?;
        if let Some(Remembered { known, durable: Some(files), .. }) = &remembered
            && *files == self.0.files(subject)?
        {
            return Ok(known.clone());
        }
        self.blocking(move |inner| {
            inner.is_folder_in_place()?;
            // Who is new need not wait for the turn twice.
            if remembered.is_none() && matches!(inner.look_up(subject)?, Known::Nothing) {
                return Ok(Known::Nothing);
            }
            inner.look_up_to_seal(subject, Keyless::Told)
        })
        .await
    }

    /// The same, and where there is no key, one is made: for who never had one.
    pub(crate) async fn to_seal_first(&self, subject: Subject) -> Result<Known, StoreError> {
        self.blocking(move |inner| inner.look_up_to_seal(subject, Keyless::Given)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || act(&inner)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    /// Forgets those of them who are not forgotten.
    pub(super) fn forget_again(&self, subjects: &[Subject]) -> Result<(), StoreError> {
        for &subject in subjects {
            // A key that can't be told is none that is forgotten.
            if !matches!(self.0.look_up(subject), Ok(Known::Forgotten)) {
                self.0.forget(subject)?;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// What is in memory of the subject and still holds.
    fn remembered(&self, subject: Subject) -> Result<Option<Remembered>, StoreError> {
        let Some(generation) = self.generation.read()? else {
            return Ok(None);
        };
        Ok(self.cache.get(&subject).filter(|remembered| remembered.generation == generation))
    }

    /// The files of the subject's key as they are now.
    fn files(&self, subject: Subject) -> io::Result<Files> {
        let bucket = self.disk.stamp(&Bucket::of(subject).file_name())?;
        Ok(Files { bucket, store_key: self.disk.stamp(store_key::FILE)? })
    }

    fn is_folder_in_place(&self) -> Result<(), StoreError> {
        if self.generation.is_in_place(&*self.disk)? {
            return Ok(());
        }
        Err(unavailable(
            "the folder with the keys of subjects is not the one that was opened: put that one \
             back, or restart"
                .into(),
        ))
    }

    /// The stamp of the file with the key that wraps the others, which is the one in memory.
    fn store_key_in_place(&self) -> Result<FileStamp, StoreError> {
        let told =
            |why: &str| unavailable(format!("{} of the keys of subjects: {why}", store_key::FILE));
        match StoreKey::is_in_place(&*self.disk, &self.store_key) {
            Ok((true, stamp)) => Ok(stamp),
            Ok((false, _)) => Err(told("it is another than the one that was opened")),
            Err(error) => Err(told(&error.to_string())),
        }
    }

    /// The turn to change the folder, as long as it is the one that was opened: who signed up since
    /// an older copy of it was made is looked for where it is opened, and would be missed here.
    fn turn(&self) -> Result<Turn<'_>, StoreError> {
        self.is_folder_in_place()?;
        let turn = self.turns.wait()?;
        self.is_folder_in_place()?;
        Ok(turn)
    }

    /// The slots among which the subject's is.
    fn slots(&self, subject: Subject) -> Result<Slots, StoreError> {
        let slots = Bucket::of(subject).read(&*self.disk)?;
        if slots.count() == 0 {
            // Nobody has lost a key where the whole folder is away.
            self.store_key_in_place()?;
        }
        Ok(slots)
    }

    fn look_up(&self, subject: Subject) -> Result<Known, StoreError> {
        // Before the slot is read: whoever is forgotten meanwhile makes it another.
        self.generation.is_in_place(&*self.disk)?;
        let generation = self.generation.read()?;
        let slots = self.slots(subject)?;
        let known = match slots.find(subject) {
            Place::At(at) => self.read_slot(&slots, at)?,
            Place::Nowhere => Known::Nothing,
            Place::Unknown(at) => return Err(damaged(&slots, at)),
        };
        self.remember(subject, &known, generation, None);
        Ok(known)
    }

    fn look_up_to_seal(&self, subject: Subject, keyless: Keyless) -> Result<Known, StoreError> {
        let turn = self.turn()?;
        let generation = self.generation.read()?;
        let store_key = Some(self.store_key_in_place()?);
        let mut slots = Bucket::of(subject).read(&*self.disk)?;
        let (at, known) = match slots.find(subject) {
            Place::At(at) => (at, self.read_slot(&slots, at)?),
            Place::Unknown(at) => return Err(damaged(&slots, at)),
            Place::Nowhere if keyless == Keyless::Told => return Ok(Known::Nothing),
            Place::Nowhere if self.durable.are_more_than(&slots) => {
                let why = "it ends before keys that were in it: it is an older copy";
                return Err(slots.corrupt(slots.count(), why));
            }
            Place::Nowhere => {
                let (at, key) = (slots.count(), random(&*self.entropy));
                slots.put(at, &slot::live(subject, &key, &self.cipher, &*self.entropy));
                (at, Known::Live(Arc::new(SubjectKey::new(&key))))
            }
        };
        let bucket = self.durable.make(&*self.disk, &turn, &slots, at..at)?;
        self.remember(subject, &known, generation, Some(Files { bucket, store_key }));
        Ok(known)
    }

    fn forget(&self, subject: Subject) -> Result<(), StoreError> {
        let turn = self.turn()?;
        let mut slots = Bucket::of(subject).read(&*self.disk)?;
        let (mut theirs, doubtful) = slots.of(subject, &self.cipher);
        if theirs.is_empty() {
            theirs.push(slots.count());
        }
        if !cfg!(veza_canary = "forget-alone") {
            self.generation.begin()?;
        }
        let first = theirs[0];
        theirs.into_iter().for_each(|at| slots.put(at, &slot::forgotten(subject)));
        self.durable.make(&*self.disk, &turn, &slots, first..slots.count())?;
        self.generation.end()?;
        self.cache.invalidate(&subject);
        match doubtful {
            Some(at) => Err(damaged(&slots, at)),
            None => Ok(()),
        }
    }

    fn forgotten(&self) -> Result<Vec<Subject>, StoreError> {
        let mut found = Vec::new();
        for bucket in Bucket::on(&*self.disk)? {
            let slots = bucket.read(&*self.disk)?;
            for (at, bytes) in slots.each().enumerate() {
                match slot::read(bytes) {
                    Slot::Forgotten => found.push(slot::subject(bytes)),
                    Slot::Damaged => return Err(damaged(&slots, at)),
                    Slot::Free | Slot::Live => {}
                }
            }
        }
        Ok(found)
    }

    fn read_slot(&self, slots: &Slots, at: usize) -> Result<Known, StoreError> {
        match slot::read(slots.slot(at)) {
            Slot::Forgotten => Ok(Known::Forgotten),
            Slot::Live => {
                let why = "it is not opened by the key in the same folder, store.key";
                let key = slot::key(slots.slot(at), &self.cipher);
                let key = key.ok_or_else(|| slots.corrupt(at, why))?;
                Ok(Known::Live(Arc::new(SubjectKey::new(&key))))
            }
            Slot::Free | Slot::Damaged => Err(damaged(slots, at)),
        }
    }

    fn remember(
        &self,
        subject: Subject,
        known: &Known,
        generation: Option<u64>,
        durable: Option<Files>,
    ) {
        let (Some(generation), false) = (generation, matches!(known, Known::Nothing)) else {
            return;
        };
        self.cache.insert(subject, Remembered { known: known.clone(), generation, durable });
    }
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { reason: reason.into() }
}

fn damaged(slots: &Slots, at: usize) -> StoreError {
    slots.corrupt(at, "the key of a subject does not agree with its checksum")
}

/// The key that wraps all others, wrapped by the first of `wrapping`; made where nothing is yet.
fn opened(
    disk: &dyn Disk,
    keys: Option<&WrappingKeys>,
    wrapping: Option<&WrappingKeys>,
    entropy: &dyn Entropy,
) -> Result<KeyBytes, SubjectKeysError> {
    match StoreKey::read(disk, keys)? {
        Some(StoreKey { key, wrapped_by }) => {
            if let Some(wrapping) = wrapping.filter(|keys| keys.first() != wrapped_by) {
                StoreKey::write(disk, &key, Some(wrapping), entropy)?;
            }
            Ok(key)
        }
        None if !Bucket::on(disk)?.is_empty() => Err(SubjectKeysError::Lost),
        None => {
            let key = random(entropy);
            StoreKey::write(disk, &key, wrapping, entropy)?;
            Ok(key)
        }
    }
}
