// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions: shmem that belongs to the module, a vm descriptor that maps it behind the gate
 * (fault.c), and for one that has a name a device that behaves like that descriptor.
 *
 * The memory is a file of a tmpfs of our own, mounted without huge pages: a large folio is
 * mapped as a whole, published or not. What goes around that (shmem_enabled=force together
 * with MADV_HUGEPAGE, MADV_COLLAPSE) meets a check in the fault.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/bitmap.h>
#include <linux/cdev.h>
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "region.h"

#define MINORS 1024

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
#define HUGE_NEVER "huge=never,"
#else
#define HUGE_NEVER ""
#endif

static LIST_HEAD(regions);
static DEFINE_MUTEX(regions_lock);
static u64 last_id;

static struct vfsmount *mount;
static struct workqueue_struct *ends;
static struct class *class;
static struct cdev cdev;
static dev_t devt;
static DEFINE_IDA(minors);

/* ---- its life ---- */

/* The number is nobody else's before the device is gone. */
static void device_end(struct drover_region_obj *r)
{
	if (r->minor < 0)
		return;
	device_destroy(class, MKDEV(MAJOR(devt), r->minor));
	ida_free(&minors, r->minor);
}

/* Nobody can find it any more. */
static void region_free(struct drover_region_obj *r)
{
	cancel_delayed_work_sync(&r->stall);
	cancel_delayed_work_sync(&r->grace);
	drover_wake(r, 0, r->npages);
	xa_destroy(&r->requests);
	cleanup_srcu_struct(&r->srcu);
	if (r->shm)
		fput(r->shm);
	kvfree(r->received);
	mutex_destroy(&r->state);
	kfree(r);
	module_put(THIS_MODULE);
}

static void region_end(struct work_struct *work)
{
	struct drover_region_obj *r = container_of(work, struct drover_region_obj, end);

	device_end(r);
	drover_event_region_end(r->id);
	region_free(r);
}

static void region_last(struct kref *kref)
{
	struct drover_region_obj *r = container_of(kref, struct drover_region_obj, kref);

	list_del(&r->list);
	mutex_unlock(&regions_lock);
	queue_work(ends, &r->end);
}

void drover_region_put(struct drover_region_obj *r)
{
	kref_put_mutex(&r->kref, region_last, &regions_lock);
}

static struct drover_region_obj *region_alloc(const struct drover_region *a)
{
	struct drover_region_obj *r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);

	if (!r)
		return NULL;
	if (init_srcu_struct(&r->srcu)) {
		kfree(r);
		return NULL;
	}
	__module_get(THIS_MODULE);
	kref_init(&r->kref);
	INIT_WORK(&r->end, region_end);
	INIT_LIST_HEAD(&r->queue);
	xa_init(&r->requests);
	init_waitqueue_head(&r->readers);
	INIT_DELAYED_WORK(&r->stall, drover_stall_work);
	INIT_DELAYED_WORK(&r->grace, drover_grace_work);
	mutex_init(&r->state);
	r->minor = -1;
	r->uid = current_euid();
	r->npages = a->bytes >> PAGE_SHIFT;
	r->grace_ms = a->grace_ms;
	r->gated = a->flags & DROVER_REGION_GATED;
	strscpy(r->name, a->name, sizeof(r->name));
	return r;
}

/* Neither shorter nor longer, whoever can reach the file: bitmaps have its length. */
static int region_memory(struct drover_region_obj *r)
{
	r->received = kvcalloc(BITS_TO_LONGS(r->npages), sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!r->received)
		return -ENOMEM;
	r->shm = shmem_file_setup_with_mnt(mount, "drover-region", (loff_t)r->npages << PAGE_SHIFT,
					   VM_NORESERVE);
	if (IS_ERR(r->shm)) {
		int ret = PTR_ERR(r->shm);

		r->shm = NULL;
		/* No inode to be had: there is no limit to their number. */
		return ret == -ENOSPC ? -ENOMEM : ret;
	}
	SHMEM_I(file_inode(r->shm))->seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
	return 0;
}

int drover_region_mmap(struct drover_region_obj *r, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff > r->npages || vma_pages(vma) > r->npages - vma->vm_pgoff)
		return -EINVAL;
	if (!drover_debug(DROVER_DEBUG_HUGE))
		drover_vma_set_flags(vma, VM_NOHUGEPAGE);
	vma_set_file(vma, r->shm);
	return r->shm->f_op->mmap(r->shm, vma);
}

/* ---- the vm descriptor, and the device that behaves like it ---- */

static int gated_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct drover_region_obj *r = file->private_data;
	int ret = drover_region_mmap(r, vma);

	if (ret)
		return ret;
	mutex_lock(&regions_lock);
	drover_gate_ops(r, vma->vm_ops);
	mutex_unlock(&regions_lock);
	vma->vm_private_data = r;
	vma->vm_ops = &r->vm_ops;
	kref_get(&r->kref);
	return 0;
}

static loff_t gated_llseek(struct file *file, loff_t off, int whence)
{
	struct drover_region_obj *r = file->private_data;

	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		return vfs_llseek(r->shm, off, whence);
	return fixed_size_llseek(file, off, whence, (loff_t)r->npages << PAGE_SHIFT);
}

/* A balloon gives pages back; they read as zero, and stay published. */
static long gated_fallocate(struct file *file, int mode, loff_t off, loff_t len)
{
	struct drover_region_obj *r = file->private_data;

	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	/* Not vfs_fallocate(): the caller has taken the right to write to this very mount. */
	return r->shm->f_op->fallocate(r->shm, mode, off, len);
}

static int gated_release(struct inode *inode, struct file *file)
{
	drover_region_put(file->private_data);
	return 0;
}

static const struct file_operations vm_fops = {
	.owner = THIS_MODULE,
	.release = gated_release,
	.mmap = gated_mmap,
	.llseek = gated_llseek,
	.fallocate = gated_fallocate,
};

static struct drover_region_obj *region_get(int minor, u64 id)
{
	struct drover_region_obj *r;

	mutex_lock(&regions_lock);
	list_for_each_entry(r, &regions, list) {
		if (minor >= 0 ? r->minor == minor : r->id == id) {
			kref_get(&r->kref);
			mutex_unlock(&regions_lock);
			return r;
		}
	}
	mutex_unlock(&regions_lock);
	return NULL;
}

static int device_open(struct inode *inode, struct file *file)
{
	file->private_data = region_get(iminor(inode), 0);
	return file->private_data ? 0 : -ENXIO;
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = gated_release,
	.mmap = gated_mmap,
	.llseek = gated_llseek,
};

/*
 * The descriptor is one of the shmem file itself, so that its size, its holes and which
 * file it is are what anybody expects; but its operations are ours, and none of them reads
 * or writes around the gate.
 */
static struct file *vm_open(struct drover_region_obj *r)
{
	struct file *file = dentry_open(&r->shm->f_path, O_RDWR | O_LARGEFILE, current_cred());

	if (IS_ERR(file))
		return file;
	__module_get(THIS_MODULE);
	replace_fops(file, &vm_fops);
	file->private_data = r;
	kref_get(&r->kref);
	return file;
}

static int vm_fd(struct drover_region_obj *r)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);
	struct file *file;

	if (fd < 0)
		return fd;
	file = vm_open(r);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}

struct file *drover_region_shm(struct file *file)
{
	struct drover_region_obj *r;

	if (file->f_op != &vm_fops && file->f_op != &device_fops && !drover_is_loader(file))
		return NULL;
	r = file->private_data;
	return r->shm;
}

/* ---- commands ---- */

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, DROVER_NAME_LEN);

	if (len == DROVER_NAME_LEN || name[0] == '.')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

static bool name_taken(const char *name)
{
	struct drover_region_obj *r;

	list_for_each_entry(r, &regions, list)
		if (!strcmp(r->name, name))
			return true;
	return false;
}

/* The number first, which is what the device is opened by. */
static int device_new(struct drover_region_obj *r)
{
	struct device *device;
	int minor = ida_alloc_max(&minors, MINORS - 1, GFP_KERNEL);

	if (minor < 0)
		return minor;
	WRITE_ONCE(r->minor, minor);
	device = device_create(class, NULL, MKDEV(MAJOR(devt), minor), NULL, "drover-%s",
			       r->name);
	if (!IS_ERR(device))
		return 0;
	WRITE_ONCE(r->minor, -1);
	ida_free(&minors, minor);
	return PTR_ERR(device);
}

static int region_add(struct drover_region_obj *r)
{
	int ret = 0;

	mutex_lock(&regions_lock);
	if (r->name[0] && name_taken(r->name))
		ret = -EEXIST;
	if (!ret) {
		r->id = ++last_id;
		list_add(&r->list, &regions);
	}
	mutex_unlock(&regions_lock);
	return ret;
}

/* In the list, with the caller's reference. */
static struct drover_region_obj *region_new(const struct drover_region *a)
{
	struct drover_region_obj *r = region_alloc(a);
	int ret;

	if (!r)
		return ERR_PTR(-ENOMEM);
	/* One that has ended a moment ago may still have its device. */
	flush_workqueue(ends);
	ret = region_memory(r);
	if (ret >= 0)
		ret = region_add(r);
	if (ret < 0) {
		region_free(r);
		return ERR_PTR(ret);
	}
	drover_event_region_new(r->id, r->npages, r->name);
	if (r->name[0])
		ret = device_new(r);
	if (ret < 0) {
		drover_region_put(r);
		return ERR_PTR(ret);
	}
	return r;
}

int drover_cmd_region(struct file *file, void *arg)
{
	struct drover_region *a = arg;
	struct drover_region_obj *r;
	int ret = 0;

	if (a->flags & ~DROVER_REGION_GATED || !a->bytes || a->bytes % PAGE_SIZE ||
	    !name_ok(a->name) || a->grace_ms > INT_MAX)
		return -EINVAL;
	if (a->bytes >> PAGE_SHIFT > drover_attach_max_pages())
		return -EFBIG;
	r = region_new(a);
	if (IS_ERR(r))
		return PTR_ERR(r);
	a->id = r->id;
	a->vm_fd = vm_fd(r);
	ret = a->vm_fd;
	if (ret >= 0) {
		a->loader_fd = drover_loader_open(r);
		ret = a->loader_fd;
		if (ret < 0)
			close_fd(a->vm_fd);
	}
	drover_region_put(r);
	return ret < 0 ? ret : 0;
}

void drover_undo_region(struct file *file, void *arg, int ret)
{
	struct drover_region *a = arg;

	close_fd(a->vm_fd);
	close_fd(a->loader_fd);
}

static struct drover_region_obj *get_by_id(u64 id)
{
	struct drover_region_obj *r = region_get(-1, id);

	if (!r || uid_eq(r->uid, current_euid()) || capable(CAP_SYS_ADMIN))
		return r ?: ERR_PTR(-ENOENT);
	drover_region_put(r);
	return ERR_PTR(-ENOENT);
}

static struct drover_region_obj *get_by_fd(u64 fd)
{
	struct file *file = fd <= INT_MAX ? fget(fd) : NULL;
	struct drover_region_obj *r = ERR_PTR(-EBADF);

	if (!file)
		return r;
	if (!drover_region_shm(file)) {
		r = ERR_PTR(-ENODEV);
	} else if (file->f_mode & FMODE_WRITE) {
		r = file->private_data;
		kref_get(&r->kref);
	}
	fput(file);
	return r;
}

int drover_cmd_adopt(struct file *file, void *arg)
{
	struct drover_adopt *a = arg;
	struct drover_region_obj *r;
	int fd;

	if (a->flags & ~(DROVER_ADOPT_FD | DROVER_ADOPT_CHECK))
		return -EINVAL;
	r = a->flags & DROVER_ADOPT_FD ? get_by_fd(a->id) : get_by_id(a->id);
	if (IS_ERR(r))
		return PTR_ERR(r);
	if (a->flags & DROVER_ADOPT_CHECK) {
		fd = drover_loader_check(r);
	} else {
		fd = drover_loader_open(r);
		if (fd >= 0)
			drover_event_loader_adopted(r->id);
	}
	drover_region_put(r);
	return fd;
}

void drover_undo_adopt(struct file *file, void *arg, int ret)
{
	struct drover_adopt *a = arg;

	if (!(a->flags & DROVER_ADOPT_CHECK))
		close_fd(ret);
}

/* ---- the module ---- */

static int mount_init(void)
{
	struct file_system_type *tmpfs = get_fs_type("tmpfs");
	char options[] = HUGE_NEVER "size=0";

	if (!tmpfs)
		return -ENODEV;
	/* size=0: as much as the caller's memory cgroup lets it have. */
	mount = vfs_kern_mount(tmpfs, SB_KERNMOUNT, "drover", options);
	return PTR_ERR_OR_ZERO(mount);
}

static int device_init(void)
{
	int ret = alloc_chrdev_region(&devt, 0, MINORS, "drover-region");

	if (ret)
		return ret;
	class = drover_class_create("drover-region");
	if (IS_ERR(class)) {
		unregister_chrdev_region(devt, MINORS);
		return PTR_ERR(class);
	}
	cdev_init(&cdev, &device_fops);
	cdev.owner = THIS_MODULE;
	ret = cdev_add(&cdev, devt, MINORS);
	if (!ret)
		return 0;
	class_destroy(class);
	unregister_chrdev_region(devt, MINORS);
	return ret;
}

int drover_region_init(void)
{
	int ret;

	ends = alloc_workqueue("drover", WQ_UNBOUND, 0);
	if (!ends)
		return -ENOMEM;
	ret = mount_init();
	if (ret)
		goto queue;
	ret = device_init();
	if (!ret)
		return 0;
	kern_unmount(mount);
queue:
	destroy_workqueue(ends);
	return ret;
}

void drover_region_exit(void)
{
	cdev_del(&cdev);
	class_destroy(class);
	unregister_chrdev_region(devt, MINORS);
	destroy_workqueue(ends);
	kern_unmount(mount);
	ida_destroy(&minors);
}
