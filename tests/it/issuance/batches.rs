//! The queue behind every shared commit: what waits goes together, and a group that fails goes row by row.

use std::sync::{Arc, Mutex};

use chancery::authority::batch::{Batcher, WriteGroup};
use chancery::error::{Error, ErrorKind, Result};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

/// Writes when it may; a group with a 7 in it fails, so does the 7 alone; 9 is refused without failing its group.
struct Writer {
    may: Arc<Semaphore>,
    groups: Arc<Mutex<Vec<Vec<u32>>>>,
}

impl WriteGroup<u32, u32> for Writer {
    type Begun = ();

    async fn begin(&self) -> Result<()> {
        Ok(())
    }

    fn lanes(&self) -> usize {
        2
    }

    async fn write(&self, (): (), rows: Arc<Vec<u32>>) -> Result<Vec<Result<u32>>> {
        let turn = self.may.acquire().await.unwrap();
        self.groups.lock().unwrap().push(rows.to_vec());
        drop(turn);
        if rows.contains(&7) {
            return Err(Error::new(ErrorKind::Internal, "a statement failed"));
        }
        let answer = |n: &u32| if *n == 9 { Err(Error::malformed("refused")) } else { Ok(n * 10) };
        Ok(rows.iter().map(answer).collect())
    }
}

#[tokio::test]
async fn a_failed_group_is_written_row_by_row() {
    let (may, groups) = (Arc::new(Semaphore::new(0)), Arc::<Mutex<Vec<Vec<u32>>>>::default());
    let batcher = Batcher::start(Writer { may: may.clone(), groups: groups.clone() });
    let rows = join_all((0..40).map(|n| batcher.commit(n)));
    let (answers, ()) = tokio::join!(rows, async { may.add_permits(1) });
    for (n, answer) in (0u32..).zip(answers) {
        match n {
            7 => assert_eq!(answer.unwrap_err().kind, ErrorKind::Internal),
            9 => assert_eq!(answer.unwrap_err().kind, ErrorKind::Malformed),
            n => assert_eq!(answer.unwrap(), n * 10),
        }
    }
    let groups = groups.lock().unwrap();
    let alone = groups.iter().filter(|group| group.len() == 1).count();
    // two lanes took all that waited: one group held, the other one went again in its twenty rows
    assert_eq!((groups.len(), alone), (22, 20), "{groups:?}");
}
