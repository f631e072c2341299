/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_DEV_DEVICES_H
#define DROVER_DEV_DEVICES_H

/**
 * struct drover_devices - what a process has that lets a device write to its memory late
 * @n: how many descriptors
 * @text: what they are, one named of each kind: "2 files opened with O_DIRECT (/x/disk)"
 */
struct drover_devices {
	unsigned int n;
	char text[256];
};

/**
 * drover_devices_look() - files opened with O_DIRECT, io_uring instances with registered
 * buffers, and descriptors of VFIO, vDPA, RDMA and vhost-scsi, by /proc/PID/fdinfo
 *
 * A descriptor that is opened for writing only reads guest RAM, and does not count.
 *
 * Return: 0, or a negative errno when nobody of this user may look; -ENOENT: no such process.
 */
int drover_devices_look(int pid, struct drover_devices *ret);

#endif
