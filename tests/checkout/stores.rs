//! The stores by themselves.

use breakerbox::store::{CheckoutStore, StoreSettings};

/// A place for databases that is gone when the test is.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("breakerbox-stores-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self, file: &str) -> String {
        format!("sqlite://{}", self.0.join(file).display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn two_may_open_a_new_file_at_the_same_moment() {
    let directory = Directory::new("open");
    for round in 0..40 {
        let url = directory.url(&format!("{round}.db"));
        let store = || CheckoutStore::new(&url, &StoreSettings::default(), true).unwrap();
        let (one, other) = (store(), store());
        let (first, second) = tokio::join!(one.queue(), other.queue());
        assert_eq!((first.unwrap().depth, second.unwrap().depth), (0, 0));
    }
}
