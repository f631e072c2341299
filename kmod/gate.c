// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gate files: what a VMM maps. All of them are files of the memory's own inode, so its size,
 * its holes and which file it is are what anybody expects; their operations are the ones
 * below, and none of them reads or writes around the gate.
 *
 * - A mapping's vm_file is a gate file, and it pins the region and the module for as long as
 *   the mapping exists. Whatever maps by way of vm_file (remap_file_pages) comes here again.
 *   The loader's mappings are of another file, so the kernel never merges the two kinds.
 * - The inode's own operations are the same, so a file that is opened by a path to it
 *   (/proc/PID/fd, /proc/PID/map_files) is a gate file, too.
 * - VM_DONTEXPAND keeps the kernel from making huge entries behind the gate's back: it is what
 *   khugepaged and MADV_COLLAPSE ask for, and madvise() can't clear it. It also refuses to
 *   grow a mapping by mremap(). mlock() passes such mappings by, so region.c makes the memory
 *   unevictable for good.
 *
 * A device /dev/drover-NAME holds a gate file while it is open, and maps that.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#include <linux/cdev.h>
#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "compat.h"
#include "region.h"

#define MINORS 1024

static struct class *class;
static struct cdev cdev;
static dev_t devt;
static DEFINE_IDA(minors);

/* ---- gate files ---- */

static int gate_mmap(struct file *file, struct vm_area_struct *vma)
{
	int ret = drover_region_mmap(file->private_data, vma);

	if (ret)
		return ret;
	if (!drover_debug(DROVER_DEBUG_COLLAPSE))
		drover_vma_set_flags(vma, VM_DONTEXPAND);
	drover_gate_vma(vma);
	return 0;
}

static loff_t gate_llseek(struct file *file, loff_t off, int whence)
{
	struct drover_region_obj *r = drover_gate_region(file);

	if (whence == SEEK_DATA || whence == SEEK_HOLE)
		return vfs_llseek(r->shm, off, whence);
	return fixed_size_llseek(file, off, whence, (loff_t)r->npages << PAGE_SHIFT);
}

/* A balloon gives pages back; they read as zero, and stay published. */
static long gate_fallocate(struct file *file, int mode, loff_t off, loff_t len)
{
	struct drover_region_obj *r = file->private_data;

	if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	/* Not vfs_fallocate(): the caller has taken the right to write to this very mount. */
	return r->shm->f_op->fallocate(r->shm, mode, off, len);
}

/* By a path to the inode: who may open it gets what a vm descriptor is. */
static int gate_open(struct inode *inode, struct file *file)
{
	file->private_data = drover_region_by_inode(inode);
	return file->private_data ? 0 : -ENXIO;
}

static int gate_release(struct inode *inode, struct file *file)
{
	drover_region_put(file->private_data);
	return 0;
}

static const struct file_operations gate_fops = {
	.owner = THIS_MODULE,
	.open = gate_open,
	.release = gate_release,
	.mmap = gate_mmap,
	.llseek = gate_llseek,
	.fallocate = gate_fallocate,
};

void drover_gate_inode(struct inode *inode)
{
	if (drover_debug(DROVER_DEBUG_OPEN_PLAIN))
		return;
	inode->i_mode = S_IFREG | 0600;
	inode->i_fop = &gate_fops;
}

struct file *drover_gate_file(struct drover_region_obj *r, unsigned int flags)
{
	struct inode *inode = file_inode(r->shm);
	struct file *file;

	ihold(inode);
	/* The kernel gives the module back with the file, and does not take it here. */
	__module_get(THIS_MODULE);
	file = alloc_file_pseudo(inode, r->shm->f_path.mnt, "drover-region", flags | O_LARGEFILE,
				 &gate_fops);
	if (IS_ERR(file)) {
		module_put(THIS_MODULE);
		iput(inode);
		return file;
	}
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	kref_get(&r->kref);
	file->private_data = r;
	return file;
}

/* ---- /dev/drover-NAME ---- */

static int device_open(struct inode *inode, struct file *file)
{
	struct drover_region_obj *r = drover_region_by_minor(iminor(inode));
	struct file *gate;

	if (!r)
		return -ENXIO;
	/* What may be mapped for writing is decided by how the device was opened. */
	gate = drover_gate_file(r, file->f_flags & O_ACCMODE);
	drover_region_put(r);
	if (IS_ERR(gate))
		return PTR_ERR(gate);
	file->private_data = gate;
	return 0;
}

static int device_release(struct inode *inode, struct file *file)
{
	fput(file->private_data);
	return 0;
}

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct file *gate = file->private_data;

	vma_set_file(vma, gate);
	return gate_mmap(gate, vma);
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.mmap = device_mmap,
	.llseek = gate_llseek,
};

struct drover_region_obj *drover_gate_region(const struct file *file)
{
	if (file->f_op == &device_fops)
		file = file->private_data;
	return file->f_op == &gate_fops ? file->private_data : NULL;
}

/**
 * drover_device_create - make /dev/drover-NAME of a region that has a name
 * @r: the region; in the list of all, by its number the device is opened
 *
 * Return: 0 or an error; then there is no device.
 */
int drover_device_create(struct drover_region_obj *r)
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

/* Returns when the device is gone, and only then its number and its name are free. */
void drover_device_destroy(struct drover_region_obj *r)
{
	if (r->minor < 0)
		return;
	device_destroy(class, MKDEV(MAJOR(devt), r->minor));
	ida_free(&minors, r->minor);
}

int drover_devices_init(void)
{
	int ret = alloc_chrdev_region(&devt, 0, MINORS, "drover-region");

	if (ret)
		return ret;
	class = drover_class_create("drover-region");
	if (IS_ERR(class)) {
		ret = PTR_ERR(class);
		goto err_region;
	}
	cdev_init(&cdev, &device_fops);
	cdev.owner = THIS_MODULE;
	ret = cdev_add(&cdev, devt, MINORS);
	if (!ret)
		return 0;
	class_destroy(class);
err_region:
	unregister_chrdev_region(devt, MINORS);
	return ret;
}

void drover_devices_exit(void)
{
	cdev_del(&cdev);
	class_destroy(class);
	unregister_chrdev_region(devt, MINORS);
	ida_destroy(&minors);
}
