// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

// Delivery is what the submits of all kinds have in common.
type Delivery struct {
	ID         *string `json:"id" required:"true"`
	Generation *string `json:"generation" argument:"true" repair:"true"`
	State      *string `json:"state" enum:"ok,censored,faulted,csam" default:"ok"`
}

// ImageDelivery is the body with which an image worker ends a job.
type ImageDelivery struct {
	Delivery
	Seed     *int64          `json:"seed" required:"true" coerce:"true"`
	Censored *bool           `json:"censored" default:"false"`
	Metadata []ImageMetadata `json:"gen_metadata"`
}

// TextDelivery is the body with which a text worker ends a job.
type TextDelivery struct {
	Delivery
	Seed     *int64         `json:"seed" coerce:"true" hidden:"true"`
	Metadata []TextMetadata `json:"gen_metadata"`
}

// ImageMetadata is a note on an image.
type ImageMetadata struct {
	Type  *string `json:"type" required:"true" enum:"lora,ti,censorship,source_image,source_mask,extra_source_images,batch_index,information,aesthetic_score"`
	Value *string `json:"value" required:"true" enum:"download_failed,parse_failed,baseline_mismatch,csam,nsfw,see_ref"`
	Ref   *string `json:"ref,omitempty" maxLength:"255"`
}

// TextMetadata is a note on a text.
type TextMetadata struct {
	Type  *string `json:"type" required:"true" enum:"censorship"`
	Value *string `json:"value" required:"true" enum:"csam"`
	Ref   *string `json:"ref,omitempty" maxLength:"255"`
}
