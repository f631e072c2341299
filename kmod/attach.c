// SPDX-License-Identifier: GPL-2.0-only
/*
 * An attach: which files can be watched, what is held while one is, and how it is left.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "watch.h"

static LIST_HEAD(watches);
static DEFINE_MUTEX(watches_lock);

static unsigned long file_pages(struct file *file)
{
	return DIV_ROUND_UP_ULL(i_size_read(file_inode(file)), PAGE_SIZE);
}

static int check_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (boot_cpu_has(X86_FEATURE_XENPV) || !drover_can_flush())
		return -EOPNOTSUPP;
	if (inode->i_sb->s_magic == HUGETLBFS_MAGIC)
		return -EMEDIUMTYPE;
	if (!S_ISREG(inode->i_mode) || !drover_is_shmem(file->f_mapping))
		return -ENODEV;
	if (SHMEM_I(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return -EPERM;
	if (!i_size_read(inode))
		return -EINVAL;
	if (file_pages(file) > DROVER_MAX_PAGES)
		return -EFBIG;
	return 0;
}

/* Undo ARM: the file is as it was, and what was written is marked as such. */
static void disarm(struct drover_watch *w)
{
	lockdep_assert_held(&w->lock);
	/* Not if it was locked before, or is now: shmctl(SHM_LOCK) uses the same bit. */
	w->was_unevictable |= SHMEM_I(w->mapping->host)->flags & VM_LOCKED;
	if (!w->was_unevictable)
		mapping_clear_unevictable(w->mapping);
	drover_let_go(w);
	if (!w->was_unevictable)
		drover_lru_rescue(w->mapping);
	w->armed = false;
}

/* Holes are told of all pages that hold nothing now. */
static void forget_news(struct drover_watch *w)
{
	unsigned long n, i;

	for (n = 0; n < drover_pieces(w); n++) {
		struct drover_piece *p = w->piece[n];

		if (!p)
			continue;
		bitmap_zero(p->dirty, p->npages);
		bitmap_fill(p->hole, p->npages);
		for (i = 0; i < p->npages; i++)
			if (drover_held(p, p->first + i))
				__clear_bit(i, p->hole);
		cond_resched();
	}
}

/*
 * References first, then the bits: a folio without PG_dirty that nobody holds could be
 * thrown away. Nothing that is found now is news: the caller copies everything once, but
 * for what the first harvest says are holes.
 */
static int arm(struct drover_watch *w)
{
	struct drover_collect c = { .end = w->npages };
	int r;

	lockdep_assert_held(&w->lock);
	w->was_unevictable = mapping_unevictable(w->mapping);
	mapping_set_unevictable(w->mapping);
	r = drover_hold_init(w);
	if (r >= 0)
		r = drover_collect(w, &c);
	if (r < 0) {
		disarm(w);
		return r;
	}
	forget_news(w);
	w->final = false;
	w->armed = true;
	return 0;
}

static int cmd_arm(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_watch *w = file->private_data;
	struct drover_arm *a = arg;
	int r;

	if (a->flags)
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = w->armed ? -EALREADY : arm(w);
	a->resident = w->held;
	mutex_unlock(&w->lock);
	return r;
}

static void abort_arm(struct file *file)
{
	struct drover_watch *w = file->private_data;

	mutex_lock(&w->lock);
	if (w->armed)
		disarm(w);
	mutex_unlock(&w->lock);
}

static int set_words(struct drover_watch *w, const struct drover_set_dirty *a)
{
	const unsigned long __user *user = u64_to_user_ptr(a->bitmap);
	unsigned long i, n = BITS_TO_LONGS(a->npages), word;

	lockdep_assert_held(&w->lock);
	for (i = 0; i < n; i++) {
		unsigned long left = a->npages - i * BITS_PER_LONG;
		unsigned long index = a->first + i * BITS_PER_LONG;
		struct drover_piece *p;

		if (get_user(word, user + i))
			return -EFAULT;
		if (left < BITS_PER_LONG)
			word &= (1ul << left) - 1;
		if (word) {
			p = drover_piece_get(w, index);
			if (!p)
				return -ENOMEM;
			p->dirty[(index - p->first) / BITS_PER_LONG] |= word;
		}
		if (!(i % 4096)) {
			cond_resched();
			if (signal_pending(current))
				return -EINTR;
		}
	}
	return 0;
}

static int cmd_set_dirty(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_watch *w = file->private_data;
	struct drover_set_dirty *a = arg;
	int r;

	if (a->flags || a->first % BITS_PER_LONG || !a->npages || a->first >= w->npages ||
	    a->npages > w->npages - a->first || a->bitmap % sizeof(long))
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	r = w->armed ? set_words(w, a) : -ENXIO;
	mutex_unlock(&w->lock);
	return r;
}

static int cmd_stat(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_watch *w = file->private_data;
	struct drover_stat *a = arg;

	if (a->flags)
		return -EINVAL;
	if (mutex_lock_interruptible(&w->lock))
		return -EINTR;
	a->pages = w->npages;
	a->held = w->held;
	a->harvests = w->harvests;
	a->harvest_ns = w->harvest_ns;
	a->walked = w->walked;
	a->dirty = w->reported;
	a->memory = w->memory;
	mutex_unlock(&w->lock);
	return 0;
}

static const struct drover_cmd commands[] = {
	DROVER_CMD(DROVER_IOC_ARM, struct drover_arm, sizeof(struct drover_arm), cmd_arm,
		   abort_arm),
	DROVER_CMD(DROVER_IOC_HARVEST, struct drover_harvest, sizeof(struct drover_harvest),
		   drover_cmd_harvest, NULL),
	DROVER_CMD(DROVER_IOC_SET_DIRTY, struct drover_set_dirty, sizeof(struct drover_set_dirty),
		   cmd_set_dirty, NULL),
	DROVER_CMD(DROVER_IOC_STAT, struct drover_stat, sizeof(struct drover_stat), cmd_stat, NULL),
};

static long attach_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return drover_ioctl(commands, ARRAY_SIZE(commands), file, cmd, arg);
}

static void watch_free(struct drover_watch *w)
{
	mutex_lock(&watches_lock);
	list_del(&w->list);
	mutex_unlock(&watches_lock);
	drover_event_release(file_inode(w->file)->i_ino);
	fput(w->file);
	mutex_destroy(&w->lock);
	kfree(w);
}

/* The holder has closed it or has died. */
static int attach_release(struct inode *inode, struct file *file)
{
	struct drover_watch *w = file->private_data;

	mutex_lock(&w->lock);
	if (w->armed)
		disarm(w);
	mutex_unlock(&w->lock);
	watch_free(w);
	return 0;
}

static const struct file_operations attach_fops = {
	.owner = THIS_MODULE,
	.release = attach_release,
	.unlocked_ioctl = attach_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/*
 * The shmem file of a descriptor, which may be a region's; with a reference. Who may not
 * write may not clear dirty bits: asked is how the descriptor given was opened, since the
 * file behind one of a region is always writable.
 */
static struct file *ram_file(int fd)
{
	struct file *file = fget(fd), *ram;

	if (!file)
		return ERR_PTR(-EBADF);
	ram = file->f_mode & FMODE_WRITE ? drover_region_shm(file) ?: file : ERR_PTR(-EBADF);
	if (!IS_ERR(ram))
		get_file(ram);
	fput(file);
	return ram;
}

/* Takes over the reference of @file on success. */
static struct drover_watch *watch_new(struct file *file, bool protect)
{
	struct drover_watch *w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT), *other;

	if (!w)
		return ERR_PTR(-ENOMEM);
	mutex_init(&w->lock);
	w->file = file;
	w->protect = protect;
	w->mapping = file->f_mapping;
	w->npages = file_pages(file);
	mutex_lock(&watches_lock);
	list_for_each_entry(other, &watches, list) {
		if (other->mapping == w->mapping) {
			mutex_unlock(&watches_lock);
			kfree(w);
			return ERR_PTR(-EBUSY);
		}
	}
	list_add(&w->list, &watches);
	mutex_unlock(&watches_lock);
	return w;
}

u64 drover_attach_features(void)
{
	return DROVER_CAP_ATTACH | DROVER_CAP_PROTECT |
	       (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) ? DROVER_CAP_THP_2M : 0);
}

u64 drover_attach_max_pages(void)
{
	return DROVER_MAX_PAGES;
}

int drover_cmd_attach(struct file *file, void *arg, struct drover_fds *fds)
{
	struct drover_attach *a = arg;
	struct drover_watch *w;
	struct file *ram, *attach;
	int r;

	if (a->flags & ~DROVER_ATTACH_PROTECT || a->reserved)
		return -EINVAL;
	ram = ram_file(a->fd);
	if (IS_ERR(ram))
		return PTR_ERR(ram);
	r = check_file(ram);
	if (r < 0) {
		fput(ram);
		return r;
	}
	w = watch_new(ram, a->flags & DROVER_ATTACH_PROTECT);
	if (IS_ERR(w)) {
		fput(ram);
		return PTR_ERR(w);
	}
	a->pages = w->npages;
	drover_event_attach(file_inode(ram)->i_ino, w->npages);
	attach = anon_inode_getfile("[drover-attach]", &attach_fops, w, O_RDWR);
	if (IS_ERR(attach))
		watch_free(w);
	/* A failure from here on is told as the release of the file. */
	return drover_fd_add(fds, attach);
}
